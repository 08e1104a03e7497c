//! Medians and 95 % intervals. The bootstrap's random numbers have a fixed seed, so that the same
//! runs give the same interval.

const RESAMPLES: usize = 2000;

/// A number and its 95 % interval.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Estimate {
    pub(crate) value: f64,
    pub(crate) low: f64,
    pub(crate) high: f64,
}

/// The value below which that share of the runs lies.
pub(crate) fn quantile(values: &[f64], share: f64) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    let rank = (share * count(sorted.len())).ceil().max(1.0);
    sorted
        .into_iter()
        .zip(1..)
        .find(|(_, place)| f64::from(*place) >= rank)
        .map_or(f64::NAN, |(value, _)| value)
}

/// The median, with a bootstrap interval.
pub(crate) fn median(values: &[f64]) -> Estimate {
    bootstrap(values.len(), |picked| {
        middle(picked.iter().map(|at| values[*at]).collect())
    })
}

/// The median of `ours` over the median of `theirs`, with an interval that resamples runs made one
/// after the other as pairs.
pub(crate) fn ratio(ours: &[f64], theirs: &[f64]) -> Estimate {
    assert_eq!(ours.len(), theirs.len(), "runs come in pairs");
    bootstrap(ours.len(), |picked| {
        middle(picked.iter().map(|at| ours[*at]).collect())
            / middle(picked.iter().map(|at| theirs[*at]).collect())
    })
}

/// The geometric mean of the pairs' ratios, with the paired t interval of their logarithms: for few
/// and slow runs.
pub(crate) fn paired(ours: &[f64], theirs: &[f64]) -> Estimate {
    assert_eq!(ours.len(), theirs.len(), "runs come in pairs");
    let logs: Vec<f64> = ours
        .iter()
        .zip(theirs)
        .map(|(ours, theirs)| (ours / theirs).ln())
        .collect();
    let size = count(logs.len());
    let mean = logs.iter().sum::<f64>() / size;
    let variance = logs.iter().map(|log| (log - mean).powi(2)).sum::<f64>() / (size - 1.0);
    let half = student(size - 1.0) * (variance / size).sqrt();
    Estimate {
        value: mean.exp(),
        low: (mean - half).exp(),
        high: (mean + half).exp(),
    }
}

fn bootstrap(runs: usize, statistic: impl Fn(&[usize]) -> f64) -> Estimate {
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    let mut random = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state
    };
    let bound = u64::try_from(runs).unwrap();
    let mut found = Vec::new();
    for _ in 0..RESAMPLES {
        let picked: Vec<usize> = (0..runs)
            .map(|_| usize::try_from(random() % bound).unwrap())
            .collect();
        found.push(statistic(&picked));
    }
    let all: Vec<usize> = (0..runs).collect();
    Estimate {
        value: statistic(&all),
        low: quantile(&found, 0.025),
        high: quantile(&found, 0.975),
    }
}

fn middle(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    let half = values.len() / 2;
    if values.len() % 2 == 1 {
        values[half]
    } else {
        f64::midpoint(values[half - 1], values[half])
    }
}

fn count(len: usize) -> f64 {
    f64::from(u32::try_from(len).unwrap())
}

/// The 97.5 % point of Student's t (Peizer and Pratt's expansion around the normal's; within 1 %
/// from 3 degrees of freedom on).
fn student(degrees: f64) -> f64 {
    const Z: f64 = 1.959_964;
    let (z3, z5, z7) = (Z.powi(3), Z.powi(5), Z.powi(7));
    let first = (z3 + Z) / 4.0;
    let second = (5.0 * z5 + 16.0 * z3 + 3.0 * Z) / 96.0;
    let third = (3.0 * z7 + 19.0 * z5 + 17.0 * z3 - 15.0 * Z) / 384.0;
    Z + first / degrees + second / degrees.powi(2) + third / degrees.powi(3)
}
