# Has the engines of a minion ask rootpin, by one policy of pinned roots, whose folder is salt://rootpin/policy.
{% set platform = salt['pillar.get']('rootpin:platform', 'auto') %}
{% set engine = salt['pillar.get']('rootpin:engine_service', 'containerd') %}

rootpin:
  pkg.installed: []

/var/cache/rootpin/policy:
  file.recurse:
    - source: salt://rootpin/policy
    - clean: true
    - makedirs: true
    - user: root
    - group: root
    - dir_mode: '0755'
    - file_mode: '0644'
    - require:
      - pkg: rootpin

# checks it first, and then gives each file its name by a rename
/usr/libexec/rootpin/put-policy /var/cache/rootpin/policy:
  cmd.run:
    - unless: /usr/libexec/rootpin/put-policy --check /var/cache/rootpin/policy
    - require:
      - file: /var/cache/rootpin/policy

rootpind.socket:
  service.running:
    - enable: true
    - require:
      - cmd: /usr/libexec/rootpin/put-policy /var/cache/rootpin/policy

rootpind.service:
  service.running:
    - enable: true
    - require:
      - service: rootpind.socket

rootpin state acknowledge:
  cmd.run:
    - creates: /etc/rootpin/state-id
    - require:
      - service: rootpind.service

# rootpind reads rootpin.toml, to which engines were added, at its start, also where install could not do all: an engine whose files are written asks from
# its next start on
rootpin install:
  cmd.run:
    - name: rootpin install --platform {{ platform }} --yes; code=$?; systemctl daemon-reload; systemctl restart rootpind; exit $code
    - unless: rootpin --json install --platform {{ platform }} --dry-run | grep -q '"diff":""'
    - require:
      - cmd: rootpin state acknowledge

systemctl restart {{ engine }}:
  cmd.run:
    - onchanges:
      - cmd: rootpin install
