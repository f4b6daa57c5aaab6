//! What a run says of itself before it begins.

use shards::ShardSet;
use voice::terminal::counted;

use super::schedule::Schedule;
use crate::metrics::Slowest;
use crate::model::ModelConfig;
use crate::settings::Settings;

/// On what a run trains which network, of so many parameters, and the steps it is going to make.
pub fn beginning(
    settings: &Settings,
    dataset: &ShardSet,
    network: &ModelConfig,
    parameters: usize,
    (batches_per_epoch, steps): (u64, &str),
    ranks: usize,
) -> String {
    let on = if ranks > 1 { format!("; {ranks} ranks") } else { String::new() };
    format!(
        "{}: {} of {} pixels, {} of {} an epoch; {} with {:.1} M parameters, {}{on}; {steps}",
        settings.recipe.name(),
        counted(dataset.rows(), "row"),
        dataset.layout().size,
        counted(batches_per_epoch, "batch"),
        settings.batch_size,
        settings.model.name(),
        parameters as f64 / 1e6,
        counted(network.taps.len() as u64, "tap"),
    )
}

/// What is to be said of a run that goes on in other numbers than it began with.
pub fn other_numbers(settings: &Settings, earlier: &Settings) -> Option<String> {
    let (before, now) = (earlier.precision, settings.precision);
    (before != now)
        .then(|| format!("multiplies in {} from here on, in {} before", now.name(), before.name()))
}

/// What is to be said of a schedule that is over before its warm-up is.
pub fn all_warm_up(settings: &Settings, schedule: &Schedule) -> Option<String> {
    let Schedule { peak, warmup_steps, total_steps, .. } = *schedule;
    if warmup_steps == 0 || warmup_steps < total_steps {
        return None;
    }
    let highest = schedule.at(total_steps.saturating_sub(1));
    let tenth = 0.1 * settings.warmup_epochs * total_steps as f64 / warmup_steps as f64;
    Some(format!(
        "WARNING: the whole schedule of {} is warm-up, which takes {warmup_steps} (--warmup-epochs {}): the rate gets no higher than {highest:.1e}, not to its peak of {peak:.1e}; give --warmup-epochs {tenth:.2} or so, or a longer schedule",
        counted(total_steps, "step"),
        settings.warmup_epochs,
    ))
}

/// The rank that waits longest, where there are several, given the share of its time that each waits for its batches.
pub fn slowest(waits: &[Vec<f64>]) -> Option<Slowest> {
    if waits.len() < 2 {
        return None;
    }
    let waits = waits.iter().map(|wait| wait.iter().sum()).enumerate();
    let longest = waits.max_by(|(_, a): &(usize, f64), (_, b)| a.total_cmp(b));
    longest.map(|(rank, data)| Slowest { rank, data })
}

/// Which steps a run is going to make.
pub fn steps_left(made: u64, last: u64, settings: &Settings) -> String {
    match (made < last, settings.max_steps) {
        (true, _) if made + 1 == last => format!("step {last}"),
        (true, _) => format!("steps {} to {last}", made + 1),
        (false, Some(most)) if most == last => format!(
            "nothing is left to do: {} made, and --max-steps is {most}",
            counted(made, "step")
        ),
        (false, _) => format!(
            "nothing is left to do: {} made, which is the whole of {}",
            counted(made, "step"),
            match settings.steps {
                Some(steps) => format!("--steps {steps}"),
                None => format!("--epochs {}", settings.epochs),
            }
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::super::begin::schedule;
    use super::*;
    use crate::device::DeviceKind;
    use crate::model::Precision;
    use crate::settings::Options;

    #[test]
    fn a_schedule_that_is_all_warm_up_is_told() {
        let told = |epochs, warmup_epochs| {
            let options = Options { epochs: Some(epochs), warmup_epochs, ..Options::default() };
            let settings = Settings::resolve(options, DeviceKind::Cpu).unwrap();
            all_warm_up(&settings, &schedule(&settings, 8).unwrap())
        };
        // The recipe's ten epochs of warm-up.
        let text = told(5, None).unwrap();
        assert!(text.contains("--warmup-epochs 0.50") && text.contains("peak"), "{text}");
        assert!(told(10, None).is_some());
        assert_eq!([told(11, None), told(5, Some(0.5)), told(1, Some(0.0))], [None, None, None]);
    }

    #[test]
    fn going_on_in_other_numbers_is_told() {
        let of = |precision| {
            let options = Options { precision: Some(precision), ..Options::default() };
            Settings::resolve(options, DeviceKind::Cpu).unwrap()
        };
        let (exact, rounded) = (of(Precision::F32), of(Precision::Bf16));
        assert_eq!(other_numbers(&exact, &exact), None);
        let told = other_numbers(&exact, &rounded).unwrap();
        assert!(told.contains("f32 from here on, in bf16 before"), "{told}");
    }

    #[test]
    fn what_is_left_of_a_run_is_told() {
        let left = |made, last, max_steps| {
            let options = Options { max_steps, ..Options::default() };
            let settings = Settings::resolve(options, DeviceKind::Cpu);
            steps_left(made, last, &settings.unwrap())
        };
        assert_eq!(left(0, 9, None), "steps 1 to 9");
        assert_eq!(left(8, 9, None), "step 9");
        assert!(left(3, 2, Some(2)).contains("3 steps made, and --max-steps is 2"));
        assert!(left(9, 9, Some(20)).contains("9 steps made, which is the whole of --epochs"));
    }
}
