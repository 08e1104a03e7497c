//! A report for the textfile collector of Prometheus' node exporter. A file, because a daemon that
//! is dead could serve no counter of it.

use std::fmt::Write as _;

use super::code::{Code, HoleSeverity};
use super::report::DoctorReport;

impl DoctorReport {
    /// In Prometheus' text format; a line for each code, so that a hole that was closed is seen to
    /// be. `now` is in seconds since 1970.
    #[must_use]
    pub fn metrics(&self, now: i64) -> String {
        let mut out = String::new();
        let head = |out: &mut String, name: &str, help: &str| {
            let _ = writeln!(
                out,
                "# HELP rootpin_doctor_{name} {help}\n# TYPE rootpin_doctor_{name} gauge"
            );
        };
        head(
            &mut out,
            "holes",
            "Holes that rootpin doctor found, by code and severity.",
        );
        for code in Code::ALL {
            for severity in [HoleSeverity::Open, HoleSeverity::Weak, HoleSeverity::Note] {
                let count = self
                    .holes
                    .iter()
                    .filter(|hole| hole.code == *code && hole.severity == severity)
                    .count();
                if count > 0 || severity == code.severity() {
                    let (code, severity) = (code.as_str(), severity.as_str());
                    let _ = writeln!(
                        out,
                        "rootpin_doctor_holes{{code=\"{code}\",severity=\"{severity}\"}} {count}"
                    );
                }
            }
        }
        head(&mut out, "untold", "What rootpin doctor could not look at.");
        let _ = writeln!(out, "rootpin_doctor_untold {}", self.untold.len());
        head(
            &mut out,
            "exit_code",
            "How rootpin doctor ended: 0 shut, 1 open, 2 could not tell.",
        );
        let _ = writeln!(out, "rootpin_doctor_exit_code {}", self.exit_code());
        head(
            &mut out,
            "time_seconds",
            "When rootpin doctor ended, in seconds since 1970.",
        );
        let _ = writeln!(out, "rootpin_doctor_time_seconds {now}");
        out
    }
}

#[cfg(test)]
mod tests {
    use super::super::hole::Hole;
    use super::*;

    #[test]
    fn every_code_has_a_line_and_what_was_found_is_counted_by_its_weight() {
        let mut report = DoctorReport::default();
        report.holes.push(Hole::new(Code::GateOrder, "a", ""));
        report.holes.push(Hole::new(Code::GateOrder, "b", ""));
        report
            .holes
            .push(Hole::new(Code::DockerNoAuthz, "c", "").weighing(HoleSeverity::Weak));
        let text = report.metrics(7);
        for line in [
            "rootpin_doctor_holes{code=\"gate-order\",severity=\"open\"} 2",
            "rootpin_doctor_holes{code=\"docker-no-authz\",severity=\"open\"} 0",
            "rootpin_doctor_holes{code=\"docker-no-authz\",severity=\"weak\"} 1",
            "rootpin_doctor_exit_code 1",
            "rootpin_doctor_time_seconds 7",
        ] {
            assert!(
                text.lines().any(|known| known == line),
                "{line} is not in {text}"
            );
        }
        assert!(
            Code::ALL
                .iter()
                .all(|code| text.contains(&format!("{{code=\"{}\"", code.as_str())))
        );
    }
}
