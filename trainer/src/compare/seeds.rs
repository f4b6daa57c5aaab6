//! Runs that differ in their seed alone → one line with a band.

use super::run::RunData;

/// Runs of the same settings from different seeds, or a run alone.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Seeds {
    /// What they are called together.
    pub name: String,
    /// Their places among the runs.
    pub runs: Vec<usize>,
}

impl Seeds {
    /// Groups runs, in the order of each group's first. Two of one seed are told apart by something
    /// that settings do not say, so these stay alone.
    pub fn of(runs: &[RunData]) -> Vec<Self> {
        let mut groups: Vec<Vec<usize>> = vec![];
        for (at, run) in runs.iter().enumerate() {
            let fits = |group: &&mut Vec<usize>| {
                let mut others = group.iter().map(|&other| &runs[other]);
                others.all(|other| other.settings == run.settings && other.seed != run.seed)
            };
            match groups.iter_mut().find(fits) {
                Some(group) => group.push(at),
                None => groups.push(vec![at]),
            }
        }
        let named = |group: Vec<usize>| {
            let names: Vec<&str> = group.iter().map(|&run| runs[run].name.as_str()).collect();
            Self { name: together(&names), runs: group }
        };
        groups.into_iter().map(named).collect()
    }
}

/// What names begin with, and how many there are.
fn together(names: &[&str]) -> String {
    let [first, others @ ..] = names else { return String::new() };
    if others.is_empty() {
        return (*first).to_owned();
    }
    let shared = |other: &&str| {
        let same = first.char_indices().zip(other.chars()).take_while(|((_, a), b)| a == b);
        same.last().map_or(0, |((at, a), _)| at + a.len_utf8())
    };
    let end = others.iter().map(shared).min().unwrap_or(0);
    let stem = first[..end].trim_end_matches(['-', '_', '.', '/', ' ']);
    match stem {
        "" => format!("{first} and {} more seeds", others.len()),
        stem => format!("{stem}, {} seeds", names.len()),
    }
}

/// A point: the step, where it is drawn, and its value.
pub type At = (f64, f64, f64);

/// The means of lines at the steps that all have, as x and y, and the band from the lowest value to
/// the highest, as x, low and high; of a single line there is no band.
pub fn mean(lines: &[Vec<At>]) -> (Vec<[f64; 2]>, Vec<[f64; 3]>) {
    let [first, others @ ..] = lines else { return (vec![], vec![]) };
    let (mut line, mut band) = (vec![], vec![]);
    for point in first {
        let same = |other: &Vec<At>| other.iter().find(|other| other.0 == point.0).copied();
        let Some(mut all) = others.iter().map(same).collect::<Option<Vec<At>>>() else { continue };
        all.push(*point);
        let mean = |of: fn(&At) -> f64| all.iter().map(of).sum::<f64>() / all.len() as f64;
        let x = mean(|at| at.1);
        line.push([x, mean(|at| at.2)]);
        if !others.is_empty() {
            let values = || all.iter().map(|at| at.2);
            let (low, high) = (
                values().fold(f64::INFINITY, f64::min),
                values().fold(f64::NEG_INFINITY, f64::max),
            );
            band.push([x, low, high]);
        }
    }
    (line, band)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_shortened_to_what_they_share() {
        assert_eq!(together(&["vit-mae-0"]), "vit-mae-0");
        assert_eq!(together(&["vit-mae-0", "vit-mae-1", "vit-mae-12"]), "vit-mae, 3 seeds");
        assert_eq!(together(&["a", "b"]), "a and 1 more seeds");
        assert_eq!(together(&["räder-0", "rädär-1"]), "räd, 2 seeds");
    }

    #[test]
    fn a_band_goes_from_the_lowest_to_the_highest_at_steps_that_all_have() {
        let a = vec![(0.0, 0.0, 0.2), (5.0, 10.0, 0.4), (9.0, 18.0, 0.5)];
        let b = vec![(0.0, 0.0, 0.4), (5.0, 20.0, 0.2)];
        let (line, band) = mean(&[a.clone(), b]);
        assert_eq!(line.len(), 2);
        assert!((line[1][0] - 15.0).abs() < 1e-9 && (line[1][1] - 0.3).abs() < 1e-9);
        assert_eq!(band[1], [15.0, 0.2, 0.4]);
        let (alone, no_band) = mean(&[a]);
        assert_eq!((alone.len(), no_band.len()), (3, 0));
    }
}
