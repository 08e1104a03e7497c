# @summary Has the engines of a host ask rootpin, by one policy of pinned roots.
#
# @param policy
#   The folder of policy.toml, policy.d and roots, as a source of files; undef: it comes by another way.
# @param package
#   The name of the package in a repository of yours.
# @param platform
#   As for rootpin install --platform.
# @param restart_engine
#   false: the engine asks rootpin from its next restart on.
# @param engine_service
#   The engine's unit; of a dockerd with a containerd of its host: 'containerd docker'.
class rootpin (
  Optional[String] $policy         = undef,
  String           $package        = 'rootpin',
  String           $platform       = 'auto',
  Boolean          $restart_engine = true,
  String           $engine_service = 'containerd',
) {
  package { $package:
    ensure => installed,
  }

  if $policy {
    # Laid beside the policy in force, and checked there. Puppet writes each file by rename.
    file { '/var/cache/rootpin':
      ensure  => directory,
      owner   => 'root',
      group   => 'root',
      mode    => '0755',
      require => Package[$package],
    }
    file { '/var/cache/rootpin/policy':
      ensure  => directory,
      source  => $policy,
      recurse => true,
      purge   => true,
      force   => true,
      owner   => 'root',
      group   => 'root',
      mode    => 'u=rwX,go=rX',
    }
    # What the check refuses is not put in place, and is tried again in each run.
    exec { 'put-policy':
      path    => ['/usr/libexec/rootpin', '/usr/bin', '/bin'],
      command => 'put-policy /var/cache/rootpin/policy',
      unless  => 'put-policy --check /var/cache/rootpin/policy',
      require => File['/var/cache/rootpin/policy'],
      before  => Service['rootpind.service'],
    }
  }

  service { ['rootpind.socket', 'rootpind.service']:
    ensure  => running,
    enable  => true,
    require => Package[$package],
  }

  exec { 'rootpin state acknowledge':
    path    => ['/usr/sbin', '/usr/bin', '/sbin', '/bin'],
    creates => '/etc/rootpin/state-id',
    require => Service['rootpind.service'],
  }

  # Each run compares what runs with what is on disk, so that a restart that failed, or that an earlier run did not come to, is made then.
  $plan = "rootpin --json install --platform ${platform} --dry-run"
  # In its file restarted: what the engine was restarted for, until nothing is to be restarted or other files are written.
  $kept = '/var/cache/rootpin'

  # rootpind reads rootpin.toml, to which engines were added, at its start, also where install could not do all: an engine whose files are written asks from
  # its next start on.
  exec { 'rootpin install':
    path     => ['/usr/sbin', '/usr/bin', '/sbin', '/bin'],
    provider => shell,
    command  => "${plan} | grep -q '\"diff\":\"[^\"]' && rm -f ${kept}/restarted; rootpin install --platform ${platform} --yes; code=\$?; systemctl daemon-reload; ${plan} | grep -q '\"rootpind-is-stale\":false' || systemctl restart rootpind || code=1; exit \$code",
    unless   => "plan=\$(${plan}) && echo \"\$plan\" | grep '\"diff\":\"\"' | grep -q '\"rootpind-is-stale\":false'",
    require  => Exec['rootpin state acknowledge'],
  }

  if $restart_engine {
    # It fails, and restarts nothing, where another unit is to be restarted, or one more, and where a restart that succeeded did not help.
    # The file is written before the restart, and gets its name after it: a restart that failed is made again, and one that can't be noted
    # is not made.
    $units = regsubst($engine_service, '[.]service', '', 'G')
    $then = "'\"then\":\"systemctl restart ([^ ,\"]*, or )?${units}[,;\"]'"
    $again = "${units}: was restarted, and still runs by an earlier configuration, so it is not restarted again; hint: run rootpin doctor"
    exec { "systemctl restart ${engine_service}":
      path     => ['/usr/sbin', '/usr/bin', '/sbin', '/bin'],
      provider => shell,
      command  => "plan=\$(${plan}); owed=\$(printf %s \"\$plan\" | grep -o '\"restart\":[[][^]]*]'); if [ -e ${kept}/restarted ] && [ \"\$owed\" = \"\$(cat ${kept}/restarted)\" ]; then echo '${again}' >&2; exit 1; fi; printf %s \"\$plan\" | sed 's/snap restart /systemctl restart snap./' | grep -qE ${then} && mkdir -p ${kept} && echo \"\$owed\" >${kept}/restarting && systemctl daemon-reload && systemctl restart ${units} && mv -f ${kept}/restarting ${kept}/restarted",
      unless   => "${plan} | grep -qF '\"restart\":[]' && rm -f ${kept}/restarted",
      require  => Exec['rootpin install'],
    }
  }
}
