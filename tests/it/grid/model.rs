//! The facts that a decision rests on, and which of their combinations are asked about.

/// One fact and the words that stand for its values in the recorded files.
macro_rules! dimension {
    ($(#[$doc:meta])* $name:ident { $($variant:ident = $word:literal),* $(,)? }) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub(super) enum $name { $($variant),* }

        impl $name {
            #[allow(dead_code, reason = "not every fact is asked about in all its values")]
            pub(super) const ALL: &[Self] = &[$(Self::$variant),*];

            pub(super) fn word(self) -> &'static str {
                match self { $(Self::$variant => $word),* }
            }
        }
    };
}

dimension! {
    /// What the policy says of the image's name.
    Entry {
        None = "none",
        Rule = "rule",
        Quorum = "rule:2-agree",
        QuorumSilent = "rule:2-one-silent",
        QuorumNone = "rule:2-one-without",
        SignedAs = "rule:signed-as",
        Cosign = "rule:cosign,unbound",
        CosignTag = "rule:cosign,annotated",
        Notation = "rule:notation,unbound",
        CosignAndTuf = "rule:2-cosign-and-tuf",
        NotationAndTuf = "rule:2-notation-and-tuf",
        CosignOrTuf = "rule:cosign-or-tuf,unbound",
        Image = "image",
        ImageManifest = "image:manifest",
        ImageRule = "image+rule",
        ImageExempt = "image+exempt",
        Exempt = "exempt",
        ExemptOver = "exempt-over",
        ExemptDigest = "exempt:index",
        ExemptManifest = "exempt:manifest",
        RuleExempt = "rule+exempt",
        RuleOver = "rule+exempt-over",
        RuleExemptDigest = "rule+exempt:index",
        RuleExemptManifest = "rule+exempt:manifest",
    }
}
dimension! {
    /// The policy's mode, and the rules'; and what root's break-glass is for.
    Modes {
        Enforce = "enforce",
        Audit = "audit",
        Stricter = "audit,rules-enforce",
        AuditOver = "audit-over",
        Trial = "enforce,rules-audit",
        TrialOver = "enforce,rules-audit-over",
        Glass = "enforce,break-glass",
        GlassApp = "enforce,break-glass:team/app",
        GlassOps = "enforce,break-glass:ops",
    }
}
dimension! {
    /// What `[[revoked]]` lists of the image, or the key that signed it.
    Revoked { Nothing = "-", Top = "top", Manifest = "manifest", Config = "config", Layer = "layer", Key = "key" }
}
dimension! {
    /// The names of the image, the one that was written first.
    Names {
        Tag = "v1",
        Digest = "@own",
        Both = "v1@own",
        Wrong = "v1@wrong",
        Unsigned = "v9",
        Free = "free",
        TagFree = "v1,free",
        FreeTag = "free,v1",
        TagOps = "v1,ops",
        OpsTag = "ops,v1",
        Sixteen = "v1+15",
        Seventeen = "v1+16",
        Nothing = "nameless",
        TwoLabels = "nameless:free+own",
    }
}
dimension! {
    /// The bytes, by what is signed of them: `v1` is `signed`, `v2` is `older`. Each is an index of
    /// two platforms, of which statements list the first one's manifest.
    Bytes {
        Signed = "signed",
        Second = "signed/2nd-platform",
        Older = "older",
        Other = "unsigned",
        Platform = "platform",
        Unlisted = "platform-unlisted",
    }
}
dimension! {
    /// Where the name comes from.
    Source {
        Asked = "asked",
        Record = "record",
        Import = "import",
        Ledger = "ledger",
        Label = "label",
        Nothing = "nothing",
    }
}
dimension! {
    /// Where the bytes come from.
    Origin {
        Registry = "registry",
        Elsewhere = "another-registry",
        Local = "local",
        Unknown = "unknown",
    }
}
dimension! {
    /// How the root's metadata is.
    Root { Good = "good", Silent = "silent", Cached = "cached", Expired = "expired", Bad = "bad-signature" }
}
dimension! {
    /// Whether the clock can be right.
    Clock { Right = "right", Early = "too-early" }
}
dimension! {
    /// What `[local]` and `[docker]` allow.
    Keys { None = "-", Local = "local", Elsewhere = "local-elsewhere", Docker = "docker", DockerLocal = "docker,local" }
}
dimension! {
    /// Where the question is asked.
    Door {
        Pull = "pull",
        Resolve = "resolve",
        Unpack = "unpack",
        Create = "create",
        CreateId = "create-by-id",
        CreateClassic = "create-classic",
        Tag = "tag",
        Run = "run",
        Resident = "resident",
        ResidentNext = "resident-2nd",
        Explain = "explain",
        DockerPull = "docker-pull",
        DockerBuild = "docker-build",
        Swarm = "swarm",
        Plugin = "plugin",
    }
}

/// All that a decision rests on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct Facts {
    pub(super) entry: Entry,
    pub(super) modes: Modes,
    pub(super) keys: Keys,
    pub(super) revoked: Revoked,
    pub(super) names: Names,
    pub(super) bytes: Bytes,
    pub(super) source: Source,
    pub(super) origin: Origin,
    pub(super) root: Root,
    pub(super) clock: Clock,
}

pub(super) const HEADER: &str =
    "policy\tmode\tallows\trevoked\tnames\tbytes\tname-source\torigin\troot\tclock";

impl Entry {
    /// Whether a root of its rule reads signatures beside the image.
    pub(super) fn reads_signatures(self) -> bool {
        matches!(
            self,
            Self::Cosign
                | Self::CosignTag
                | Self::Notation
                | Self::CosignAndTuf
                | Self::NotationAndTuf
                | Self::CosignOrTuf
        )
    }
}

impl Names {
    pub(super) fn is_one(self) -> bool {
        matches!(
            self,
            Self::Tag | Self::Digest | Self::Both | Self::Wrong | Self::Unsigned | Self::Free
        )
    }
}

impl Facts {
    pub(super) fn key(&self) -> String {
        [
            self.entry.word(),
            self.modes.word(),
            self.keys.word(),
            self.revoked.word(),
            self.names.word(),
            self.bytes.word(),
            self.source.word(),
            self.origin.word(),
            self.root.word(),
            self.clock.word(),
        ]
        .join("\t")
    }

    fn allows_docker(&self) -> bool {
        matches!(self.keys, Keys::Docker | Keys::DockerLocal)
    }

    /// Whether the question of that door can be asked of these facts.
    pub(super) fn is_asked_at(&self, door: Door) -> bool {
        let named = self.names != Names::Nothing && self.source != Source::Label;
        let pulled =
            self.source == Source::Asked && self.origin == Origin::Registry && self.names.is_one();
        let by_client = matches!(self.source, Source::Asked | Source::Record);
        let known = self.origin != Origin::Unknown;
        match door {
            Door::Pull | Door::Explain => pulled,
            Door::DockerPull => pulled && self.allows_docker(),
            Door::Resolve => {
                pulled && matches!(self.names, Names::Tag | Names::Unsigned | Names::Free)
            }
            Door::Unpack => known,
            Door::Run => known && !matches!(self.source, Source::Import | Source::Ledger),
            Door::Create | Door::Tag => known && by_client && named,
            Door::CreateId => {
                known
                    && (by_client && matches!(self.names, Names::Tag | Names::Digest)
                        || self.source == Source::Nothing)
            }
            Door::CreateClassic => by_client && named && self.origin == Origin::Local,
            Door::Resident => !matches!(self.source, Source::Import | Source::Ledger),
            Door::ResidentNext => by_client && named && !self.names.is_one(),
            Door::DockerBuild => {
                self.origin == Origin::Local && self.bytes == Bytes::Other && named
            }
            Door::Swarm | Door::Plugin => {
                self.is_asked_at(Door::DockerBuild) && self.names == Names::Free
            }
        }
    }
}
