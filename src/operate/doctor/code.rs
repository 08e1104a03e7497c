//! The findings of the doctor, each under a stable code with its severity; docs/doctor.md has the same
//! table, and a test holds it to this one.

use serde::Serialize;

use HoleSeverity::{Note, Open, Weak};

/// How much a hole weighs. Only [`HoleSeverity::Open`] makes the host one with holes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum HoleSeverity {
    /// An image gets past: nobody is asked, or somebody else than rootpin.
    Open,
    /// It holds, and one mistake more opens it; or less is known at the door than could be.
    Weak,
    /// Worth knowing.
    Note,
}

impl HoleSeverity {
    /// Its name.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Open => "open",
            Self::Weak => "weak",
            Self::Note => "note",
        }
    }
}

crate::operate::codes_with_facts! {
    /// What a doctor may find, how much it weighs, and why it matters.
    pub enum Code: (HoleSeverity, &'static str);
    ContainerdTooOld = "containerd-too-old", "containerd is older than 1.7.4", (Open, "it has no diff plugins, so no gate can stand in it; told of one it panics at its start");
    DoorNotAsked = "door-not-asked", "a door that the daemon tries itself was not asked", (Open, "the engine passes the door by, whatever its configuration says");
    RestartPending = "restart-pending", "a file of an engine's configuration changed after the engine started", (Open, "the engine runs by what it read at its start, which nobody can see any more");
    UnlistedEngine = "unlisted-engine", "an engine runs that rootpin.toml does not name", (Open, "it pulls and unpacks images without asking rootpin");

    GateMissing = "gate-missing", "containerd has no differ at the gate's socket", (Open, "whatever is not pulled by the transfer service is unpacked without asking");
    GateOrder = "gate-order", "the gate is not the first differ of the diff-service", (Open, "the differ before it unpacks, and the gate is never asked");
    UnpackConfig = "unpack-config", "the transfer service unpacks by another differ than the applying gate", (Open, "imports, and what the transfer service pulls, are unpacked without looking at the bytes");
    SnapshotterUnlisted = "snapshotter-unlisted", "a snapshotter that is in use has no entry in unpack_config", (Weak, "the transfer service can't unpack for it, and who pulls past the service instead is not asked by name");
    RemoteSnapshotter = "remote-snapshotter", "a snapshotter is another process", (Open, "a remote snapshotter (stargz, nydus, soci, overlaybd) mounts layers by itself: they are never unpacked, so no gate sees them");
    StreamProcessor = "stream-processor", "a stream processor is given ordinary layers", (Weak, "a program changes layers after they were judged: what it puts out was signed by nobody");
    RequiredPlugins = "required-plugins", "required_plugins lacks a plugin that a door needs", (Weak, "after a mistaken edit containerd starts without the door, instead of refusing to start");
    PluginError = "plugin-error", "a plugin that a door needs did not load", (Weak, "what needs it fails, and what does not need it has one door less");

    VerifierOff = "verifier-off", "containerd 2 runs without its image verifier plugin", (Open, "pulls by the transfer service are judged by nobody before the bytes are there, and their names never");
    VerifierMissing = "verifier-missing", "the verifier's folder does not exist", (Open, "containerd lets every pull pass where the folder is missing");
    VerifierEmpty = "verifier-empty", "the verifier's folder is empty", (Open, "containerd lets every pull pass where the folder is empty");
    VerifierForeign = "verifier-foreign", "the verifier's folder holds no rootpin-verifier", (Open, "containerd asks others, and not rootpin");
    VerifierCrowded = "verifier-crowded", "the verifier's folder holds more than rootpin-verifier", (Weak, "each entry counts against max_verifiers, and containerd leaves out what is over it");
    VerifierWritable = "verifier-writable", "others than root can change the verifier's folder, its file or the way there", (Open, "who empties the folder has every pull let through, and who writes to it runs programs as root");
    VerifierUnusable = "verifier-unusable", "a program in the verifier's folder can't be run", (Weak, "containerd refuses every pull by the transfer service, as it gets no answer");
    VerifierLimit = "verifier-limit", "max_verifiers leaves rootpin-verifier out", (Open, "containerd leaves out, in the order of names, what is over the limit, and lets the pull pass");
    VerifierTimeout = "verifier-timeout", "per_verifier_timeout is not longer than rootpin's deadline", (Weak, "containerd ends the question before it is answered, and the refusal has no reason in it");

    ConfigRefused = "config-refused", "containerd would not start with its configuration", (Weak, "it runs by what it read at its start; the next restart takes the node down");
    ConfigIgnored = "config-ignored", "containerd ignores a key of its configuration", (Weak, "what somebody wrote there is not in force, and at most a warning in the log says so");
    DropInIgnored = "drop-in-ignored", "a drop-in of rootpin lies where containerd does not read it", (Weak, "what it says is not in force");
    SectionReplaced = "section-replaced", "a drop-in replaces a whole section of containerd 1.7's configuration", (Weak, "the keys that the drop-in does not repeat are back at their defaults");

    CriLocalPull = "cri-local-pull", "a setting makes CRI pull by itself, and not by the transfer service", (Open, "the verifier is not asked, so nobody compares name and digest; containerd says so in one warning at its start");
    CriAnnotations = "cri-annotations", "CRI does not tell the gate which name it pulls", (Weak, "the gate then knows the layer only, and can't bind a tag to its digest");
    CriConfigPathList = "cri-config-path-list", "CRI's config_path names more than one folder while CRI pulls by the transfer service", (Weak, "containerd takes the list for the name of one folder, finds nothing, and ignores every hosts.toml");
    HostsOpen = "hosts-open", "by hosts.toml, an engine has somebody else than rootpin's resolver say what a tag is", (Open, "the registry or its mirror then says what a tag is, and other bytes under a signed tag are fetched before they are refused");
    CriRestore = "cri-restore", "CRI makes containers of checkpoint archives", (Weak, "what is restored, memory among it, was signed by nobody and comes through no gate");
    NriOff = "nri-off", "containerd has NRI off, or at another socket, though rootpin.toml names one", (Weak, "containers are made without the run-time door");
    NriFailsOpen = "nri-fails-open", "containerd goes on without an NRI plugin that is away", (Note, "while rootpind is down, containers of images that are no longer admitted can be made");

    DockerNoAuthz = "docker-no-authz", "dockerd does not ask rootpin's authorization plugin", (Open, "with a classic store nothing else sees a pull; with the containerd store nothing else sees tags, loads and known layers");
    DockerUnknownContainerd = "docker-unknown-containerd", "dockerd uses a containerd that is no engine of rootpin.toml", (Open, "the containerd that dockerd starts or embeds by itself has a configuration that it writes anew each time, so no gate can stand in it");
    DockerAuthzBypass = "docker-authz-bypass", "this dockerd has a known way past authorization plugins", (Weak, "what dockerd does not show to the plugin, or shows without its body, the plugin can't judge");
    DockerSwarm = "docker-swarm", "this dockerd is a node of a swarm", (Open, "its managers give it containers, whose images it pulls without showing a plugin anything");
    DockerMigration = "docker-migration", "dockerd may move the images of its classic store into containerd", (Weak, "at its start it copies their layers into snapshots and writes their names, and asks nobody; a sweep tells of the names afterwards");
    DockerExposed = "docker-exposed", "dockerd's API is open to the network without client certificates", (Open, "who reaches it is root on this host");

    ContainerdExposed = "containerd-exposed", "containerd's API is open to the network without client certificates", (Open, "who reaches it writes image records and snapshots past every door");
    SocketOpen = "socket-open", "others than root can connect to an engine's socket", (Open, "who can connect can write image records and snapshots past every door");
    SocketReplaceable = "socket-replaceable", "others than root can take the place of one of rootpin's sockets", (Open, "a gate that says Unimplemented lets everything pass");
    SocketTaken = "socket-taken", "a door of rootpin does not listen, for somebody else has its socket or port", (Open, "engines ask whoever is there, or nobody");
    SocketSilent = "socket-silent", "rootpind runs, and nobody listens at a door's socket of rootpin.toml", (Weak, "rootpind runs by an earlier rootpin.toml, or without its sockets: an engine that asks there is refused every layer");
    NotAtBoot = "not-at-boot", "systemd does not start rootpind with the host", (Weak, "after the next boot each engine that asks is refused every layer, until somebody starts rootpind");

    StateLost = "state-lost", "another state was acknowledged on this host than the one that rootpind has", (Open, "its rollback floors are lost or not mounted, so that metadata which this host saw replaced would be taken again");
    StateNew = "state-new", "nobody has acknowledged this host's state", (Weak, "an empty folder in place of a volume that isn't mounted looks like a first start");

    CredentialsPastHelper = "credentials-past-helper", "a Docker client hands out credentials without asking rootpin's helper", (Weak, "a look-alike of a registry's name is sent the credentials that somebody stored for it, whatever the policy says");
    CredentialsPastProvider = "credentials-past-provider", "the kubelet asks credential providers without rootpin's before them", (Weak, "an image that nobody signed is pulled with the node's credentials");
    CredentialsInHosts = "credentials-in-hosts", "a hosts.toml has a registry's credential in clear text", (Weak, "whoever reads the file has it, and engines send it whatever the policy says");
    CredentialsReadable = "credentials-readable", "others can read a file with registry credentials", (Weak, "every user and every container that sees the file has them");

    BreakGlass = "break-glass", "root lets pass what the policy refuses", (Open, "until it ends, every image passes that is not revoked, or every one of the names that root gave");
    PolicyAudit = "policy-audit", "the policy's mode is audit", (Note, "nothing is refused");
    PolicyLocal = "policy-local", "the policy lets local content pass", (Note, "whoever may build, load or import brings in what nobody signed");
    PolicyMissing = "policy-missing", "no policy is in force", (Note, "every image is refused until it loads");
}

impl Code {
    /// How much it weighs, where the case in hand doesn't weigh less.
    #[must_use]
    pub fn severity(self) -> HoleSeverity {
        self.facts().0
    }

    /// Why it matters, in a sentence without its full stop.
    #[must_use]
    pub fn why(self) -> &'static str {
        self.facts().1
    }
}
