//! The commands that are not run here, each kind with why, and with the test that runs it.

/// A kind of command.
#[derive(Debug)]
pub(super) struct Row {
    /// Its page; none: each.
    page: &'static str,
    /// How its verb begins.
    verb: &'static str,
    /// What stands in it.
    part: &'static str,
    pub(super) why: &'static str,
    pub(super) test: &'static str,
}

impl Row {
    pub(super) fn is_of(&self, page: &str, verb: &str, text: &str) -> bool {
        // "audit" alone is another verb than "audit merge".
        let has_below = self.verb != "audit";
        let begins = verb == self.verb || has_below && verb.starts_with(&format!("{} ", self.verb));
        (self.page.is_empty() || self.page == page)
            && (self.verb.is_empty() || begins)
            && text.contains(self.part)
    }
}

const fn row(
    page: &'static str,
    verb: &'static str,
    part: &'static str,
    why: &'static str,
    test: &'static str,
) -> Row {
    Row {
        page,
        verb,
        part,
        why,
        test,
    }
}

const EXAMPLES: &str = "every_verbs_help_has_examples_and_they_work";
const DAEMON: &str = "asks a running rootpind";
const NOTARY: &str = "asks a Notary server";
const REGISTRY: &str = "asks a registry";
const ENGINE: &str = "needs this host's engines";
const LEAVING: &str = "the_guide_leads_off_docker_content_trust_as_it_is_typed";
const PAGES: &str = "the_pages_about_podman_and_notation_show_what_their_files_become";
const TAKE_OVER: &str = "the_tags_of_notary_are_allowed_by_the_new_root_once_its_server_is_gone";
const REFUSED: &str = "the_command_alone_or_with_another_key_s_fingerprint_pins_nothing_and_with_the_publisher_s_it_does";
const BUNDLE: &str = "a_bundle_of_signatures_is_verified_again_and_holds_without_a_registry";
const SIGNED: &str = "an_unsigned_image_is_scanned_before_anything_is_pinned_and_makes_no_bundle";
const GUIDE: &str = "docs/from-docker-content-trust.md";

/// The first that fits counts.
pub(super) const ELSEWHERE: &[Row] = &[
    row(
        "docs/from-containers-policy.md",
        "import",
        "",
        "the test has its files",
        PAGES,
    ),
    row(
        "docs/from-notation.md",
        "import",
        "",
        "the test has its files",
        PAGES,
    ),
    row(GUIDE, "import", "--from", NOTARY, LEAVING),
    row(
        GUIDE,
        "import",
        "",
        "reads all that this host has",
        "without_a_format_all_that_the_host_has_is_read_and_a_configuration_is_known_by_its_name",
    ),
    row(
        GUIDE,
        "repo init",
        "--publish",
        "the walk goes on at a Notary server",
        LEAVING,
    ),
    row(
        GUIDE,
        "pin add",
        "",
        "the walk goes on with what it took over",
        LEAVING,
    ),
    row(
        GUIDE,
        "policy check",
        "proposal",
        "the walk's proposal is made of a trust directory",
        LEAVING,
    ),
    row(
        GUIDE,
        "repo key add",
        "ID.key",
        "takes a key that Docker made",
        "a_key_that_notary_or_docker_made_is_taken_up_as_it_is_and_signs",
    ),
    row(
        GUIDE,
        "pin remove",
        "notary-1",
        "of a policy with a Notary root and another one",
        "the_months_between_are_lived_through_as_the_guide_off_docker_content_trust_says",
    ),
    row("", "repo take-over", "", NOTARY, TAKE_OVER),
    row("", "repo compare", "", NOTARY, TAKE_OVER),
    row(
        "",
        "repo endorse",
        "--list",
        REGISTRY,
        "names_of_a_list_are_one_change_and_what_moved_since_is_taken_only_with_update",
    ),
    row(
        "",
        "repo endorse",
        "",
        REGISTRY,
        "names_of_a_real_registry_are_endorsed_by_a_list_and_what_moved_is_shown_before_it_is_signed",
    ),
    row("docs/pins.md", "verify", "", NOTARY, REFUSED),
    row("docs/pins.md", "pin add", "", NOTARY, REFUSED),
    row(
        "docs/pins.md",
        "pin scan",
        "",
        NOTARY,
        "a_scan_shows_a_key_by_every_name_and_changes_nothing",
    ),
    row(
        "docs/pins.md",
        "pin diff",
        "registry.example.com",
        NOTARY,
        "a_notary_repository_is_known_new_changed_or_revoked",
    ),
    row("docs/keys.md", "pin add", "--scan", NOTARY, EXAMPLES),
    row(
        "docs/keys.md",
        "pin remove",
        "d0c623c8",
        "names a key of a Notary root",
        EXAMPLES,
    ),
    row("docs/signatures.md", "pin scan", "", REGISTRY, SIGNED),
    row("docs/signatures.md", "verify", "", REGISTRY, BUNDLE),
    row(
        "docs/bundles.md",
        "bundle export",
        "builder",
        REGISTRY,
        BUNDLE,
    ),
    row(
        "docs/bundles.md",
        "bundle import",
        "signatures",
        "carries signatures of a registry",
        BUNDLE,
    ),
    row("", "status", "", DAEMON, EXAMPLES),
    row("", "sweep", "", DAEMON, EXAMPLES),
    row("", "metrics", "", DAEMON, EXAMPLES),
    row("", "policy reload", "", DAEMON, EXAMPLES),
    row("", "state", "", DAEMON, EXAMPLES),
    row(
        "",
        "break-glass",
        "",
        DAEMON,
        "an_unsigned_image_passes_while_the_glass_is_broken_and_everything_says_so",
    ),
    row(
        "",
        "support",
        "",
        DAEMON,
        "an_archive_has_what_a_report_needs_and_no_planted_secret",
    ),
    row(
        "",
        "evidence",
        "",
        ENGINE,
        "the_folder_has_the_policy_each_commands_report_and_hashes_that_a_key_signed",
    ),
    row("", "audit", "", ENGINE, EXAMPLES),
    row(
        "",
        "doctor",
        "--fix",
        ENGINE,
        "each_hole_that_the_doctor_names_is_one_and_what_it_says_closes_it",
    ),
    row("", "doctor", "", ENGINE, EXAMPLES),
    row(
        "",
        "prove",
        "",
        ENGINE,
        "a_proof_finds_every_door_shut_and_leaves_nothing_behind",
    ),
    row(
        "",
        "install",
        "",
        ENGINE,
        "each_platform_is_found_guarded_proved_and_given_back_as_it_was",
    ),
    row(
        "",
        "hosts remove",
        "",
        ENGINE,
        "the_file_of_one_registry_is_taken_back_and_the_others_stay",
    ),
    row("", "hosts", "", ENGINE, EXAMPLES),
];
