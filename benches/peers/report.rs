//! What was measured: a table for people, and every single run for whoever doubts it.

use serde_json::{Map, Value, json};

use crate::stats::Estimate;

#[derive(Debug)]
pub(crate) struct Report {
    rows: Vec<Row>,
    runs: Map<String, Value>,
}

#[derive(Debug)]
struct Row {
    what: String,
    recheck: &'static str,
    runs: usize,
    unit: &'static str,
    estimate: Estimate,
    target: Option<f64>,
}

impl Report {
    pub(crate) fn new() -> Self {
        Self {
            rows: Vec::new(),
            runs: Map::new(),
        }
    }

    /// Keeps every run of a series.
    pub(crate) fn keep(&mut self, series: &str, runs: &[f64]) {
        self.runs.insert(series.to_owned(), json!(runs));
    }

    /// One line of the table. The target is the greatest value that is good enough, and is met where
    /// the whole interval is.
    pub(crate) fn row(
        &mut self,
        what: impl Into<String>,
        recheck: &'static str,
        runs: usize,
        unit: &'static str,
        estimate: Estimate,
        target: Option<f64>,
    ) {
        let row = Row {
            what: what.into(),
            recheck,
            runs,
            unit,
            estimate,
            target,
        };
        eprintln!("{}", line(&row.cells()));
        self.rows.push(row);
    }

    /// The same for a number that has no interval: a percentile, a sum, a size.
    pub(crate) fn plain(
        &mut self,
        what: impl Into<String>,
        recheck: &'static str,
        runs: usize,
        unit: &'static str,
        value: f64,
        target: Option<f64>,
    ) {
        self.row(
            what,
            recheck,
            runs,
            unit,
            Estimate {
                value,
                low: f64::NAN,
                high: f64::NAN,
            },
            target,
        );
    }

    pub(crate) fn table(&self) -> String {
        let head = [
            "what",
            "value",
            "95 % interval",
            "target",
            "",
            "recheck",
            "runs",
        ]
        .map(str::to_owned);
        let rows: Vec<_> = self.rows.iter().map(Row::cells).collect();
        [head]
            .iter()
            .chain(&rows)
            .map(line)
            .collect::<Vec<_>>()
            .join("\n")
    }

    pub(crate) fn json(&self, circumstances: &Value) -> Value {
        let rows: Vec<_> = self.rows.iter().map(Row::json).collect();
        json!({ "circumstances": circumstances, "rows": rows, "runs": self.runs })
    }
}

impl Row {
    fn met(&self) -> Option<bool> {
        // An interval that is not there is no number, which `max` passes over.
        let most = self.estimate.value.max(self.estimate.high);
        self.target.map(|target| most <= target)
    }

    fn cells(&self) -> [String; 7] {
        let Estimate { value, low, high } = self.estimate;
        let interval = if low.is_nan() {
            String::new()
        } else {
            format!("{low:.3} - {high:.3}")
        };
        let target = self
            .target
            .map(|target| format!("<= {target}"))
            .unwrap_or_default();
        let met = self
            .met()
            .map_or("", |met| if met { "met" } else { "MISSED" });
        let value = format!("{value:.3} {}", self.unit).trim_end().to_owned();
        [
            self.what.clone(),
            value,
            interval,
            target,
            met.to_owned(),
            self.recheck.to_owned(),
            self.runs.to_string(),
        ]
    }

    fn json(&self) -> Value {
        let finite = |number: f64| number.is_finite().then_some(number);
        let Estimate { value, low, high } = self.estimate;
        json!({
            "what": self.what, "unit": self.unit, "value": finite(value), "low": finite(low), "high": finite(high),
            "target": self.target, "met": self.met(), "recheck": self.recheck, "runs": self.runs,
        })
    }
}

fn line(cells: &[String; 7]) -> String {
    let [what, value, interval, target, met, recheck, runs] = cells;
    format!("{what:<66} {value:>12}  {interval:<19} {target:<8} {met:<6} {recheck:<7} {runs:>5}")
}
