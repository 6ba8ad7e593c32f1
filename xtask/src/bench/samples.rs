//! A few numbers, and what is said of them.

use anyhow::{Context, Result};
use serde::{Deserialize, Serialize};

/// In the order they were measured.
#[derive(Debug, Clone, Default)]
pub(super) struct Samples(Vec<f64>);

/// As the JSON has it.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
pub(super) struct Summary {
    pub(super) median: f64,
    pub(super) min: f64,
    pub(super) max: f64,
    pub(super) runs: usize,
}

impl Samples {
    pub(super) fn add(&mut self, value: f64) {
        self.0.push(value);
    }

    /// Compares round by round, so that what slowed down a whole round cancels out.
    pub(super) fn paired(&self, other: &Self, compare: impl Fn(f64, f64) -> f64) -> Self {
        Self(self.0.iter().zip(&other.0).map(|(own, other)| compare(*own, *other)).collect())
    }

    pub(super) fn summary(&self) -> Result<Summary> {
        let mut sorted = self.0.clone();
        sorted.sort_by(f64::total_cmp);
        let (min, max) =
            (*sorted.first().context("nothing was measured")?, *sorted.last().context("nothing")?);
        let middle = |index: usize| sorted.get(index).copied().unwrap_or(max);
        let half = sorted.len() / 2;
        let median =
            if sorted.len() % 2 == 1 { middle(half) } else { (middle(half - 1) + middle(half)) / 2.0 };
        Ok(Summary { median: short(median), min: short(min), max: short(max), runs: sorted.len() })
    }
}

/// Two digits: the third is noise, and hides the others.
pub(super) fn short(number: f64) -> f64 {
    (number * 100.0).round() / 100.0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_median_of_an_even_number_lies_between_the_middle_two() {
        let summary = Samples(vec![4.0, 1.0, 2.0, 9.0]).summary().unwrap();
        assert_eq!((summary.median, summary.min, summary.max, summary.runs), (3.0, 1.0, 9.0, 4));
        assert_eq!(Samples(vec![5.0, 1.0, 3.0]).summary().unwrap().median, 3.0);
        assert!(Samples::default().summary().is_err());
    }
}
