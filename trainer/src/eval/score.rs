//! Predictions held against the classes.

use serde::{Deserialize, Serialize};

/// Classes of a prediction that are kept, best first.
pub const KEPT: usize = 5;

/// One class of a [`Score`].
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ClassScore {
    /// Its name.
    pub class: String,
    /// Test rows of it.
    pub rows: u64,
    /// Those that were predicted to be of it.
    pub correct: u64,
    /// Their share; none of a class without test rows.
    pub accuracy: Option<f64>,
}

/// How well test rows were classified.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Score {
    /// Share of the rows whose class is the first prediction.
    pub top1: f64,
    /// Share of the rows whose class is among the first five; none where there are no more classes
    /// than that.
    pub top5: Option<f64>,
    /// Each class alone.
    pub classes: Vec<ClassScore>,
    /// Rows of class `i` that were predicted to be of class `j`, at `[i][j]`.
    pub confusion: Vec<Vec<u64>>,
}

impl Score {
    /// Holds `predictions`, each row's classes with the best first, against `labels`. A row without
    /// any prediction counts as wrong, and is missing from the confusion matrix.
    pub fn new(labels: &[u32], predictions: &[Vec<u32>], classes: &[String]) -> Self {
        let mut confusion = vec![vec![0; classes.len()]; classes.len()];
        let mut class_rows = vec![0; classes.len()];
        let (mut first, mut among) = (0u64, 0u64);
        for (&label, predicted) in labels.iter().zip(predictions) {
            class_rows[label as usize] += 1;
            first += u64::from(predicted.first() == Some(&label));
            among += u64::from(predicted.iter().take(KEPT).any(|&class| class == label));
            if let Some(&class) = predicted.first() {
                confusion[label as usize][class as usize] += 1;
            }
        }
        let share = |count: u64| count as f64 / labels.len().max(1) as f64;
        let of_class = |(class, (name, &rows)): (usize, (&String, &u64))| {
            let correct = confusion[class][class];
            let accuracy = (rows > 0).then(|| correct as f64 / rows as f64);
            ClassScore { class: name.clone(), rows, correct, accuracy }
        };
        Self {
            top1: share(first),
            top5: (classes.len() > KEPT).then(|| share(among)),
            classes: classes.iter().zip(&class_rows).enumerate().map(of_class).collect(),
            confusion,
        }
    }
}

/// The places of the [`KEPT`] largest values, the largest first; of equal ones the earlier first.
/// What is not above `least` is left out.
pub fn best(values: &[f32], least: f32) -> Vec<u32> {
    let mut places: Vec<u32> =
        (0..values.len() as u32).filter(|&place| values[place as usize] > least).collect();
    let order =
        |a: &u32, b: &u32| values[*b as usize].total_cmp(&values[*a as usize]).then(a.cmp(b));
    if places.len() > KEPT {
        places.select_nth_unstable_by(KEPT, order);
        places.truncate(KEPT);
    }
    places.sort_by(order);
    places
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(count: usize) -> Vec<String> {
        (0..count).map(|i| i.to_string()).collect()
    }

    #[test]
    fn the_best_five_come_first_and_ties_in_order() {
        assert_eq!(best(&[0.1, 0.9, 0.5, 0.9, 0.2, 0.3, 0.4], 0.0), [1, 3, 2, 6, 5]);
        assert_eq!(best(&[0.0, 0.0, 1.0], 0.0), [2]);
        assert_eq!(best(&[-3.0, -2.0], f32::NEG_INFINITY), [1, 0]);
    }

    #[test]
    fn accuracies_are_those_of_the_confusion_matrix() {
        let labels = [0, 0, 1, 5, 5];
        let predictions =
            [vec![0], vec![1, 0], vec![1], vec![2, 3, 4, 0, 5], vec![2, 3, 4, 0, 1, 5]];
        let score = Score::new(&labels, &predictions, &names(7));
        assert_eq!(score.top1, 2.0 / 5.0);
        assert_eq!(score.top5, Some(4.0 / 5.0));
        assert_eq!(score.confusion[0][..2], [1, 1]);
        assert_eq!(score.confusion[5][2], 2);
        let trace: u64 = (0..7).map(|class| score.confusion[class][class]).sum();
        assert_eq!(trace, 2);
        assert_eq!(score.classes[0].accuracy, Some(0.5));
        assert_eq!(score.classes[2].accuracy, None, "it has no rows");
    }

    #[test]
    fn of_five_classes_all_are_among_the_best_five() {
        assert_eq!(Score::new(&[0], &[vec![1, 0]], &names(5)).top5, None);
    }
}
