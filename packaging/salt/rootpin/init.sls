# Has the engines of a minion ask rootpin, by one policy of pinned roots, whose folder is salt://rootpin/policy.
{% set platform = salt['pillar.get']('rootpin:platform', 'auto') %}
{% set engine = salt['pillar.get']('rootpin:engine_service', 'containerd') | replace('.service', '') %}
{% set plan = 'rootpin --json install --platform ' ~ platform ~ ' --dry-run' %}
{% set kept = '/var/cache/rootpin' %}

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
    - name: {{ plan }} | grep -q '"diff":"[^"]' && rm -f {{ kept }}/restarted; rootpin install --platform {{ platform }} --yes; code=$?; systemctl daemon-reload; {{ plan }} | grep -q '"rootpind-is-stale":false' || systemctl restart rootpind || code=1; exit $code
    - unless: plan=$({{ plan }}) && echo "$plan" | grep '"diff":""' | grep -q '"rootpind-is-stale":false'
    - require:
      - cmd: rootpin state acknowledge

# It fails, and restarts nothing, where another unit is to be restarted, or one more, and where a restart that succeeded did not help: the file restarted
# says what the engine was restarted for, until nothing is to be restarted or other files are written. It is written before the restart, and gets its name
# after it: a restart that failed is made again, and one that can't be noted is not made
systemctl restart {{ engine }}:
  cmd.run:
    - name: >-
        plan=$({{ plan }}); owed=$(printf %s "$plan" | grep -o '"restart":[[][^]]*]');
        if [ -e {{ kept }}/restarted ] && [ "$owed" = "$(cat {{ kept }}/restarted)" ]; then
        echo '{{ engine }}: was restarted, and still runs by an earlier configuration, so it is not restarted again; hint: run rootpin doctor' >&2; exit 1; fi;
        printf %s "$plan" | sed 's/snap restart /systemctl restart snap./' | grep -qE '"then":"systemctl restart ([^ ,"]*, or )?{{ engine }}[,;"]'
        && mkdir -p {{ kept }} && echo "$owed" >{{ kept }}/restarting
        && systemctl daemon-reload && systemctl restart {{ engine }} && mv -f {{ kept }}/restarting {{ kept }}/restarted
    - unless: {{ plan }} | grep -qF '"restart":[]' && rm -f {{ kept }}/restarted
    - require:
      - cmd: rootpin install
