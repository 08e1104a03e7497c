//! What a doctor may find, each under a stable code with its severity; docs/doctor.md has the same
//! table, and a test holds it to this one.

use serde::Serialize;

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

macro_rules! codes {
    ($($variant:ident $name:literal $severity:ident $meaning:literal $why:literal;)*) => {
        /// What a doctor may find.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum Code {
            $(#[doc = concat!("`", $name, "`: see [`Code::meaning`]")] $variant,)*
        }

        impl Code {
            /// Every code.
            pub const ALL: &'static [Self] = &[$(Self::$variant),*];

            /// The stable name.
            #[must_use]
            pub fn as_str(self) -> &'static str {
                match self { $(Self::$variant => $name,)* }
            }

            /// How much it weighs, where the case in hand doesn't weigh less.
            #[must_use]
            pub fn severity(self) -> HoleSeverity {
                match self { $(Self::$variant => HoleSeverity::$severity,)* }
            }

            /// What it is, in a sentence without its full stop.
            #[must_use]
            pub fn meaning(self) -> &'static str {
                match self { $(Self::$variant => $meaning,)* }
            }

            /// Why it matters, in a sentence without its full stop.
            #[must_use]
            pub fn why(self) -> &'static str {
                match self { $(Self::$variant => $why,)* }
            }
        }
    };
}

codes! {
    ContainerdTooOld "containerd-too-old" Open "containerd is older than 1.7.4" "it has no diff plugins, so no gate can stand in it; told of one it panics at its start";
    DoorNotAsked "door-not-asked" Open "a door that the daemon tries itself was not asked" "the engine passes the door by, whatever its configuration says";
    RestartPending "restart-pending" Open "a file of an engine's configuration changed after the engine started" "the engine runs by what it read at its start, which nobody can see any more";
    UnlistedEngine "unlisted-engine" Open "an engine runs that rootpin.toml does not name" "it pulls and unpacks images without asking rootpin";

    GateMissing "gate-missing" Open "containerd has no differ at the gate's socket" "whatever is not pulled by the transfer service is unpacked without asking";
    GateOrder "gate-order" Open "the gate is not the first differ of the diff-service" "the differ before it unpacks, and the gate is never asked";
    UnpackConfig "unpack-config" Open "the transfer service unpacks by another differ than the applying gate" "imports, and what the transfer service pulls, are unpacked without looking at the bytes";
    SnapshotterUnlisted "snapshotter-unlisted" Weak "a snapshotter that is in use has no entry in unpack_config" "the transfer service can't unpack for it, and who pulls past the service instead is not asked by name";
    RemoteSnapshotter "remote-snapshotter" Open "a snapshotter is another process" "a remote snapshotter (stargz, nydus, soci, overlaybd) mounts layers by itself: they are never unpacked, so no gate sees them";
    StreamProcessor "stream-processor" Weak "a stream processor is given ordinary layers" "a program changes layers after they were judged: what it puts out was signed by nobody";
    RequiredPlugins "required-plugins" Weak "required_plugins lacks a plugin that a door needs" "after a mistaken edit containerd starts without the door, instead of refusing to start";
    PluginError "plugin-error" Weak "a plugin that a door needs did not load" "what needs it fails, and what does not need it has one door less";

    VerifierOff "verifier-off" Open "containerd 2 runs without its image verifier plugin" "pulls by the transfer service are judged by nobody before the bytes are there, and their names never";
    VerifierMissing "verifier-missing" Open "the verifier's folder does not exist" "containerd lets every pull pass where the folder is missing";
    VerifierEmpty "verifier-empty" Open "the verifier's folder is empty" "containerd lets every pull pass where the folder is empty";
    VerifierForeign "verifier-foreign" Open "the verifier's folder holds no rootpin-verifier" "containerd asks others, and not rootpin";
    VerifierCrowded "verifier-crowded" Weak "the verifier's folder holds more than rootpin-verifier" "each entry counts against max_verifiers, and containerd leaves out what is over it";
    VerifierWritable "verifier-writable" Open "others than root can change the verifier's folder, its file or the way there" "who empties the folder has every pull let through, and who writes to it runs programs as root";
    VerifierLimit "verifier-limit" Open "max_verifiers leaves rootpin-verifier out" "containerd leaves out, in the order of names, what is over the limit, and lets the pull pass";
    VerifierTimeout "verifier-timeout" Weak "per_verifier_timeout is not longer than rootpin's deadline" "containerd ends the question before it is answered, and the refusal has no reason in it";

    ConfigRefused "config-refused" Weak "containerd would not start with its configuration" "it runs by what it read at its start; the next restart takes the node down";
    ConfigIgnored "config-ignored" Weak "containerd ignores a key of its configuration" "what somebody wrote there is not in force, and at most a warning in the log says so";
    DropInIgnored "drop-in-ignored" Weak "a drop-in of rootpin lies where containerd does not read it" "what it says is not in force";
    SectionReplaced "section-replaced" Weak "a drop-in replaces a whole section of containerd 1.7's configuration" "the keys that the drop-in does not repeat are back at their defaults";

    CriLocalPull "cri-local-pull" Open "a setting makes CRI pull by itself, and not by the transfer service" "the verifier is not asked, so nobody compares name and digest; containerd says so in one warning at its start";
    CriAnnotations "cri-annotations" Weak "CRI does not tell the gate which name it pulls" "the gate then knows the layer only, and can't bind a tag to its digest";
    CriConfigPathList "cri-config-path-list" Weak "CRI's config_path names more than one folder while CRI pulls by the transfer service" "containerd takes the list for the name of one folder, finds nothing, and ignores every hosts.toml";
    HostsOpen "hosts-open" Open "by hosts.toml, an engine has somebody else than rootpin's resolver say what a tag is" "the registry or its mirror then says what a tag is, and other bytes under a signed tag are fetched before they are refused";
    CriRestore "cri-restore" Weak "CRI makes containers of checkpoint archives" "what is restored, memory among it, was signed by nobody and comes through no gate";
    NriOff "nri-off" Weak "containerd has NRI off, or at another socket, though rootpin.toml names one" "containers are made without the run-time door";
    NriFailsOpen "nri-fails-open" Note "containerd goes on without an NRI plugin that is away" "while rootpind is down, containers of images that are no longer admitted can be made";

    DockerNoAuthz "docker-no-authz" Open "dockerd does not ask rootpin's authorization plugin" "with a classic store nothing else sees a pull; with the containerd store nothing else sees tags, loads and known layers";
    DockerUnknownContainerd "docker-unknown-containerd" Open "dockerd uses a containerd that is no engine of rootpin.toml" "the containerd that dockerd starts or embeds by itself has a configuration that it writes anew each time, so no gate can stand in it";
    DockerAuthzBypass "docker-authz-bypass" Weak "this dockerd has a known way past authorization plugins" "what dockerd does not show to the plugin, or shows without its body, the plugin can't judge";
    DockerSwarm "docker-swarm" Open "this dockerd is a node of a swarm" "its managers give it containers, whose images it pulls without showing a plugin anything";
    DockerMigration "docker-migration" Weak "dockerd may move the images of its classic store into containerd" "at its start it copies their layers into snapshots and writes their names, and asks nobody; a sweep tells of the names afterwards";
    DockerExposed "docker-exposed" Open "dockerd's API is open to the network without client certificates" "who reaches it is root on this host";

    ContainerdExposed "containerd-exposed" Open "containerd's API is open to the network without client certificates" "who reaches it writes image records and snapshots past every door";
    SocketOpen "socket-open" Open "others than root can connect to an engine's socket" "who can connect can write image records and snapshots past every door";
    SocketReplaceable "socket-replaceable" Open "others than root can take the place of one of rootpin's sockets" "a gate that says Unimplemented lets everything pass";
    SocketTaken "socket-taken" Open "a door of rootpin does not listen, for somebody else has its socket or port" "engines ask whoever is there, or nobody";

    StateLost "state-lost" Open "another state was acknowledged on this host than the one that rootpind has" "its rollback floors are lost or not mounted, so that metadata which this host saw replaced would be taken again";
    StateNew "state-new" Weak "nobody has acknowledged this host's state" "an empty folder in place of a volume that isn't mounted looks like a first start";

    PolicyAudit "policy-audit" Note "the policy's mode is audit" "nothing is refused";
    PolicyLocal "policy-local" Note "the policy lets local content pass" "whoever may build, load or import brings in what nobody signed";
    PolicyMissing "policy-missing" Note "no policy is in force" "every image is refused until it loads";
}
