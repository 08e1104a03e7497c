//! One file of a policy, walked from top to bottom: everything that it says, as far as it was
//! understood.

use toml::de::DeTable;

use super::doors::{self, Docker, SweepAction};
use super::exempt::{self, ExemptDraft};
use super::files::Reading;
use super::fragment;
use super::image::{self, ImageDraft};
use super::pattern::Pattern;
use super::report::{At, Place, Report};
use super::revoked::{self, RevokedDraft};
use super::root::{self, RootDraft};
use super::rule::{self, RuleDraft};
use super::section::Section;
use super::settings::{self, Limits, Local, Mode};

/// What one file says.
#[derive(Debug, Default)]
pub(super) struct Draft {
    /// The number of the file in the report; 0 is `policy.toml`.
    pub(super) file: usize,
    pub(super) owns: Option<At<Pattern>>,
    pub(super) mode: Option<Mode>,
    pub(super) local: Local,
    pub(super) limits: Limits,
    pub(super) docker: Docker,
    pub(super) sweep: SweepAction,
    pub(super) prove: bool,
    pub(super) roots: Vec<RootDraft>,
    pub(super) rules: Vec<RuleDraft>,
    pub(super) images: Vec<ImageDraft>,
    pub(super) exempts: Vec<ExemptDraft>,
    pub(super) revoked: Vec<RevokedDraft>,
}

/// What stands at the top of a file.
const KEYS: [&str; 14] = [
    "version", "default", "mode", "root", "rule", "image", "local", "exempt", "revoked", "limits",
    "docker", "sweep", "prove", "fragment",
];

/// Which of the two kinds of file it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Fragment,
    Main,
}

/// Reads the file of that name.
pub(super) fn read(name: &str, kind: Kind, report: &mut Report, files: &mut Reading<'_>) -> Draft {
    let text = match files.read(name) {
        Ok(bytes) => std::str::from_utf8(bytes)
            .map(str::to_owned)
            .map_err(|error| {
                let message = format!("not UTF-8 from byte {} on", error.valid_up_to());
                (message, "save the file as UTF-8".to_owned())
            }),
        Err(error) => Err((error.message, error.hint)),
    };
    match text {
        Ok(text) => {
            let start = report.add_source(name, text.clone());
            walk(&text, start, kind, report, files)
        }
        Err((message, hint)) => {
            let place = report.add_source(name, String::new());
            report.error(place, "unreadable", message, hint);
            Draft {
                file: place.file,
                ..Draft::default()
            }
        }
    }
}

fn walk(
    text: &str,
    start: Place,
    kind: Kind,
    report: &mut Report,
    files: &mut Reading<'_>,
) -> Draft {
    let (table, errors) = DeTable::parse_recoverable(text);
    for error in errors {
        report.syntax(
            Place {
                start: error.span().map_or(0, |span| span.start),
                ..start
            },
            error.message(),
        );
    }
    let table = table.into_inner();
    let document = Section::new(
        if kind == Kind::Main {
            "the policy"
        } else {
            "the fragment"
        },
        start,
        &table,
    );
    document.only(report, &KEYS);
    settings::check_version(&document, report);
    let mut draft = match kind {
        Kind::Fragment => Draft {
            owns: fragment::read_owns(&document, report),
            ..Draft::default()
        },
        Kind::Main => read_main(&document, report),
    };
    draft.file = start.file;
    for section in document.tables(report, "[[root]]", "root") {
        draft.roots.push(root::read(&section, report, files));
    }
    draft.rules.extend(
        document
            .tables(report, "[[rule]]", "rule")
            .iter()
            .map(|section| rule::read(section, report)),
    );
    draft.images.extend(
        document
            .tables(report, "[[image]]", "image")
            .iter()
            .map(|section| image::read(section, report)),
    );
    draft.exempts.extend(
        document
            .tables(report, "[[exempt]]", "exempt")
            .iter()
            .map(|section| exempt::read(section, report)),
    );
    draft.revoked.extend(
        document
            .tables(report, "[[revoked]]", "revoked")
            .iter()
            .map(|section| revoked::read(section, report)),
    );
    draft
}

/// What only `policy.toml` may say.
fn read_main(document: &Section<'_>, report: &mut Report) -> Draft {
    document.require(
        report,
        &[
            ("version", "write version = 1"),
            (
                "default",
                "write default = \"deny\", the only one that exists",
            ),
        ],
    );
    settings::check_default(document, report);
    if let Some(place) = document.key("fragment") {
        report.error(
            place,
            "fragment",
            "policy.toml is no fragment",
            "[fragment] belongs in the files of policy.d",
        );
    }
    Draft {
        mode: document
            .parsed(report, "mode", Mode::parse)
            .map(|at| at.value),
        local: settings::read_local(document, report),
        limits: settings::read_limits(document, report),
        docker: doors::read_docker(document, report),
        sweep: doors::read_sweep(document, report),
        prove: doors::read_prove(document, report),
        ..Draft::default()
    }
}
