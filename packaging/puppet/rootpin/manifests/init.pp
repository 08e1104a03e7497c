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
    $put_policy = '/usr/libexec/rootpin/put-policy'
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
      mode    => '0644', # Puppet adds the search permission of folders
    }
    # What the check refuses is not put in place, and is tried again in each run. Puppet runs `unless` also with noop, when the package
    # may not be there yet, and fails where a program is not found.
    exec { 'put-policy':
      path     => ['/usr/bin', '/bin'],
      provider => shell,
      command  => "${put_policy} /var/cache/rootpin/policy",
      unless   => "test -x ${put_policy} && ${put_policy} --check /var/cache/rootpin/policy",
      require  => File['/var/cache/rootpin/policy'],
      before   => Service['rootpind.service'],
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

  $restart = $restart_engine ? {
    true    => " --restart '${engine_service}'",
    default => '',
  }
  $have_engines_ask = '/usr/libexec/rootpin/have-engines-ask'
  exec { 'have-engines-ask':
    path     => ['/usr/sbin', '/usr/bin', '/sbin', '/bin'],
    provider => shell,
    command  => "${have_engines_ask} --platform ${platform}${restart}",
    unless   => "test -x ${have_engines_ask} && ${have_engines_ask} --check --platform ${platform}${restart}",
    require  => Exec['rootpin state acknowledge'],
  }
}
