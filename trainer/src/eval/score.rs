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

/// What answers reach that never look at a picture.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Chance {
    /// The class of most test rows.
    pub class: String,
    /// Its share of them, which is the top-1 accuracy of always naming it.
    pub top1: f64,
    /// The share of the five largest classes; none where there is no top-5 accuracy.
    pub top5: Option<f64>,
    /// One of all classes: the top-1 accuracy, on average, of naming any.
    pub uniform: f64,
    /// Whether the top-1 accuracy is above this one.
    pub above: bool,
}

/// How well test rows were classified.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Score {
    /// Share of the rows whose class is the first prediction.
    pub top1: f64,
    /// Share of the rows whose class is among the first five; none where there are no more classes
    /// than that.
    pub top5: Option<f64>,
    /// What they are held against; records of early releases have none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub chance: Option<Chance>,
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
        let (top1, top5) = (share(first), (classes.len() > KEPT).then(|| share(among)));
        let mut largest: Vec<usize> = (0..classes.len()).collect();
        largest.sort_by_key(|&class| std::cmp::Reverse(class_rows[class]));
        let of_largest =
            |count: usize| share(largest.iter().take(count).map(|&class| class_rows[class]).sum());
        let chance = largest.first().map(|&class| Chance {
            class: classes[class].clone(),
            top1: of_largest(1),
            top5: top5.map(|_| of_largest(KEPT)),
            uniform: 1.0 / classes.len() as f64,
            above: top1 > of_largest(1),
        });
        Self {
            top1,
            top5,
            chance,
            classes: classes.iter().zip(&class_rows).enumerate().map(of_class).collect(),
            confusion,
        }
    }

    /// What a reader of the accuracies must know: each that is no better than answers without a
    /// look, or why none means anything.
    pub fn warnings(&self) -> Vec<String> {
        let Some(chance) = &self.chance else { return vec![] };
        let Chance { class, top1: guessed, .. } = chance;
        if self.classes.iter().filter(|class| class.rows > 0).count() == 1 {
            return vec![format!(
                "all test rows are of one class, `{class}`: an accuracy tells nothing of the encoder; test on two classes or more"
            )];
        }
        let mut warnings = vec![];
        if !chance.above {
            warnings.push(format!(
                "top-1 of {} is no better than chance: always naming the largest class, `{class}`, is right for {} of the test rows",
                percent(self.top1),
                percent(*guessed)
            ));
        }
        if let (Some(top5), Some(guessed)) = (self.top5, chance.top5)
            && top5 <= guessed
        {
            warnings.push(format!(
                "top-5 of {} is no better than chance: the {KEPT} largest classes hold {} of the test rows",
                percent(top5),
                percent(guessed)
            ));
        }
        warnings
    }
}

/// A share as per cent.
pub fn percent(share: f64) -> String {
    format!("{:.1} %", 100.0 * share)
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
    fn an_accuracy_is_held_against_answers_without_a_look() {
        let of = |labels: &[u32], answers: &[u32], classes| {
            let predictions: Vec<_> = answers.iter().map(|&class| vec![class]).collect();
            Score::new(labels, &predictions, &names(classes))
        };
        // Half of the rows are of class 1: as many hits by always naming it, or as here.
        let blind = of(&[0, 1, 1, 2], &[0, 1, 0, 0], 3);
        let chance = blind.chance.clone().unwrap();
        assert_eq!((chance.class.as_str(), chance.top1, chance.above), ("1", 0.5, false));
        assert_eq!((chance.uniform, chance.top5), (1.0 / 3.0, None));
        assert!(blind.warnings()[0].contains("no better than chance"), "{:?}", blind.warnings());
        let seeing = of(&[0, 1, 1, 2], &[0, 1, 1, 0], 3);
        assert!(seeing.chance.as_ref().unwrap().above && seeing.warnings().is_empty());
        // Of one class, every answer is right.
        let one = of(&[1, 1], &[1, 1], 2);
        assert!(one.warnings()[0].contains("one class"), "{:?}", one.warnings());
        // Of eight, the five largest hold six of nine rows.
        let many = of(&[0, 0, 1, 2, 3, 4, 5, 6, 7], &[0, 0, 1, 2, 3, 4, 5, 9, 9], 10);
        assert_eq!(many.chance.as_ref().unwrap().top5, Some(6.0 / 9.0));
        assert!(many.warnings().is_empty(), "{:?}", many.warnings());
    }

    #[test]
    fn of_five_classes_all_are_among_the_best_five() {
        assert_eq!(Score::new(&[0], &[vec![1, 0]], &names(5)).top5, None);
    }
}
