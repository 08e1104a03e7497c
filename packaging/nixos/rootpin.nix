# A NixOS module: the static programs of a release's tarball as a service. containerd's configuration is Nix's own, so that the lines of
# `rootpin install --dry-run` go into virtualisation.containerd.settings.
{ config, lib, pkgs, ... }:
let
  cfg = config.services.rootpin;
in
{
  options.services.rootpin = {
    enable = lib.mkEnableOption "rootpin, which decides which images this host may unpack";
    package = lib.mkOption {
      type = lib.types.package;
      description = "The unpacked tarball, with usr/bin and usr/libexec.";
    };
    policy = lib.mkOption {
      type = lib.types.path;
      description = "The folder of policy.toml, policy.d and roots. It is checked when the system is built.";
    };
    config = lib.mkOption {
      type = lib.types.lines;
      description = "The text of rootpin.toml.";
    };
  };
  config = lib.mkIf cfg.enable {
    environment.systemPackages = [ cfg.package ];
    environment.etc."rootpin/rootpin.toml".text = cfg.config;
    # copied, not linked, because a policy must be root's and writable by nobody else on its whole path
    system.activationScripts.rootpin = ''
      PATH=${lib.makeBinPath [ pkgs.diffutils ]}:$PATH ROOTPIN=${cfg.package}/usr/bin/rootpin ${pkgs.runtimeShell} ${cfg.package}/usr/libexec/rootpin/put-policy ${cfg.policy}
    '';
    systemd.sockets.rootpind = {
      wantedBy = [ "sockets.target" ];
      socketConfig = {
        ListenStream = [ "/run/rootpin/control.sock" "/run/rootpin/containerd.gate.sock" "/run/rootpin/containerd.apply.sock" ];
        SocketMode = "0600";
        DirectoryMode = "0700";
        TriggerLimitIntervalSec = 0;
      };
    };
    systemd.services.rootpind = {
      before = [ "containerd.service" "docker.service" "kubelet.service" "k3s.service" ];
      startLimitIntervalSec = 0;
      wants = [ "rootpind.socket" ];
      wantedBy = [ "multi-user.target" ];
      serviceConfig = {
        Type = "notify";
        ExecStart = "${cfg.package}/usr/bin/rootpind";
        Restart = "always";
        RestartSec = 1;
        RuntimeDirectory = "rootpin";
        RuntimeDirectoryMode = "0700";
        RuntimeDirectoryPreserve = true;
        StateDirectory = "rootpin";
        StateDirectoryMode = "0700";
        LogsDirectory = "rootpin";
        WatchdogSec = 20;
        ProtectSystem = "strict";
        NoNewPrivileges = true;
      };
    };
  };
}
