# Has the engines of a minion ask rootpin, by one policy of pinned roots, whose folder is salt://rootpin/policy.
{% set policy = salt['pillar.get']('rootpin:policy', 'salt://rootpin/policy') %}
{% set platform = salt['pillar.get']('rootpin:platform', 'auto') %}
{% set restart = salt['pillar.get']('rootpin:restart_engine', true) %}
{% set service = salt['pillar.get']('rootpin:engine_service', 'containerd') %}
{% set engines = '/usr/libexec/rootpin/have-engines-ask --platform ' ~ platform ~ (" --restart '" ~ service ~ "'" if restart else '') %}

rootpin:
  pkg.installed: []

/var/cache/rootpin/policy:
  file.recurse:
    - source: {{ policy }}
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

have-engines-ask:
  cmd.run:
    - name: {{ engines }}
    - unless: {{ engines }} --check
    - require:
      - cmd: rootpin state acknowledge
