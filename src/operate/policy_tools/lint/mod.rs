//! `rootpin policy lint`: what is legal in a policy and yet weak, void or about to end.

mod entries;
mod roots;
mod text;

use jiff::{SignedDuration, Timestamp};
use rootpin_policy::{AllowedLint, Files, Location, Mode, Pattern, Policy};

use super::Inventory;
use super::entries::written_mode;
use crate::policy_dir::LintCode;
use text::PolicyText;

/// Ends of exemptions and audits are told this long ahead.
const SOON: SignedDuration = SignedDuration::from_hours(14 * 24);

/// An exemption, or an audit, that lasts longer is worth a look.
const LONG: SignedDuration = SignedDuration::from_hours(60 * 24);

/// One finding.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LintFinding {
    /// The kind of finding.
    pub code: LintCode,
    /// The key that it is about, or the head of its entry.
    pub location: Location,
    /// The line at that place.
    pub source_line: String,
    /// What is found.
    pub message: String,
    /// What to write instead.
    pub hint: String,
    /// Why it may stay, by an `[[allow-lint]]`.
    pub allowed: Option<String>,
}

/// All findings of a policy.
#[derive(Debug)]
pub struct Linted {
    /// In the order of the files.
    pub findings: Vec<LintFinding>,
}

impl Linted {
    /// Whether a finding is not allowed.
    #[must_use]
    pub fn has_open(&self) -> bool {
        let open = |finding: &LintFinding| finding.allowed.is_none();
        self.findings.iter().any(open)
    }
}

/// What a finding is about: who allows it has to name that.
#[derive(Debug, Clone, Copy)]
enum Subject<'a> {
    Names(&'a Pattern),
    Root(&'a str),
    Policy,
}

/// Collects findings, and finds their places.
struct Linter<'a> {
    policy: &'a Policy,
    now: Timestamp,
    inventory: Option<&'a Inventory>,
    text: PolicyText<'a>,
    findings: Vec<LintFinding>,
    used: Vec<bool>,
}

/// Lints a policy that loads. `files`: those that it was loaded from.
#[must_use]
pub fn lint(
    policy: &Policy,
    files: &dyn Files,
    inventory: Option<&Inventory>,
    now: Timestamp,
) -> Linted {
    let mut linter = Linter {
        policy,
        now,
        inventory,
        text: PolicyText::new(files),
        findings: Vec::new(),
        used: vec![false; policy.allowed_lints.len()],
    };
    linter.mode();
    roots::check(&mut linter);
    entries::check(&mut linter);
    linter.unused_allowances();
    let mut findings = linter.findings;
    findings.sort_by(|one, other| (&one.location, one.code).cmp(&(&other.location, other.code)));
    Linted { findings }
}

impl Linter<'_> {
    fn find(
        &mut self,
        code: LintCode,
        subject: Subject<'_>,
        (entry, key): (&Location, &str),
        message: impl Into<String>,
        hint: impl Into<String>,
    ) {
        let (location, source_line) = self.text.key_of(entry, key);
        let allowances = self.policy.allowed_lints.iter().zip(&mut self.used);
        let allowed = allowances
            .filter(|(allowed, _)| is_allowed(allowed, code, subject))
            .map(|(allowed, used)| {
                *used = true;
                allowed.reason.clone()
            });
        // Each that applies counts as used.
        let allowed = allowed.collect::<Vec<_>>().into_iter().next();
        self.findings.push(LintFinding {
            code,
            location,
            source_line,
            message: message.into(),
            hint: hint.into(),
            allowed,
        });
    }

    fn mode(&mut self) {
        let top = Location {
            file: "policy.toml".into(),
            line: 1,
            column: 1,
        };
        let hint = "write audit-until = the day from which the policy shall enforce";
        if written_mode(self.policy) != Mode::Audit {
            return;
        }
        if let Some(until) = self.policy.audit_until {
            let place = (&top, "audit-until");
            entries::ends(self, Subject::Policy, place, "audit mode", until);
        } else {
            let message = "audit mode has no end: nothing is ever denied";
            self.find(
                LintCode::AuditMode,
                Subject::Policy,
                (&top, "mode"),
                message,
                hint,
            );
        }
    }

    fn unused_allowances(&mut self) {
        let unused: Vec<_> = self.policy.allowed_lints.iter().zip(&self.used).collect();
        // One policy is linted with an inventory and without. What only one of the two finds is no
        // sign that the other does not.
        let not_asked = match self.inventory {
            Some(_) => [LintCode::NoMaxAge, LintCode::RootExpiring],
            None => [LintCode::Unmet, LintCode::SharedSigner],
        };
        let is_asked = |code: &str| not_asked.iter().all(|one| one.as_str() != code);
        let unused: Vec<&AllowedLint> = unused
            .into_iter()
            .filter(|(allowed, used)| !**used && is_asked(&allowed.code))
            .map(|(allowed, _)| allowed)
            .collect();
        for allowed in unused {
            let message = format!("there is no finding {} that it allows", allowed.code);
            let place = (&allowed.location, "code");
            let (code, subject) = (LintCode::UnusedAllow, Subject::Policy);
            self.find(code, subject, place, message, "take it out");
        }
    }
}

fn is_allowed(allowed: &AllowedLint, code: LintCode, subject: Subject<'_>) -> bool {
    let names = allowed.pattern.as_ref();
    let root = allowed.root.as_deref();
    allowed.code == code.as_str()
        && match subject {
            Subject::Names(pattern) => {
                root.is_none() && names.is_none_or(|names| names.contains(pattern))
            }
            Subject::Root(id) => names.is_none() && root.is_none_or(|root| root == id),
            Subject::Policy => names.is_none() && root.is_none(),
        }
}
