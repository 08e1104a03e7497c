# Has the engines of a minion ask rootpin, by one policy of pinned roots, whose folder is salt://rootpin/policy.
{% set platform = salt['pillar.get']('rootpin:platform', 'auto') %}
{% set engine = salt['pillar.get']('rootpin:engine_service', 'containerd') | replace('.service', '') %}
{% set plan = 'rootpin --json install --platform ' ~ platform ~ ' --dry-run' %}

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

# Each run compares what runs with what is on disk, so that a restart that failed, or that an earlier run did not come to, is made then.
# rootpind reads rootpin.toml, to which engines were added, at its start, also where install could not do all: an engine whose files are written asks from
# its next start on
rootpin install:
  cmd.run:
    - name: rootpin install --platform {{ platform }} --yes; code=$?; systemctl daemon-reload; {{ plan }} | grep -q '"rootpind-is-stale":false' || systemctl restart rootpind || code=1; exit $code
    - unless: plan=$({{ plan }}) && echo "$plan" | grep '"diff":""' | grep -q '"rootpind-is-stale":false'
    - require:
      - cmd: rootpin state acknowledge

# It fails, and restarts nothing, where another unit is to be restarted, or one more
systemctl restart {{ engine }}:
  cmd.run:
    - name: {{ plan }} | sed 's/snap restart /systemctl restart snap./' | grep -qE '"then":"systemctl restart ([^ ,"]*, or )?{{ engine }}[,;"]' && systemctl daemon-reload && systemctl restart {{ engine }}
    - unless: {{ plan }} | grep -qF '"restart":[]'
    - require:
      - cmd: rootpin install
