//! What a run makes of its machine: the arithmetic and the bytes of a step (`work`), what the
//! machine does at best (`peak`), and how near to that each part of a step comes.

mod peak;
pub mod work;

use std::fmt::Write;

use kernels::asked::Asked;
use kernels::{Kernels, Optimize};

use crate::metrics::{Asking, Rates, Shares};
use crate::model::ModelConfig;
use crate::settings::Settings;
use work::{StepWork, Work};

/// A run's profile, which grows with each line of metrics.
#[derive(Debug)]
pub struct Profile {
    title: String,
    /// Views a step.
    views: f64,
    work: StepWork,
    peak: Work,
    /// Seconds and views of the lines of metrics so far, the first left out.
    seconds: Parts,
    seen: f64,
    lines: usize,
    /// What the device was asked for, where it works off a queue.
    asked: Option<Counts>,
}

/// What a device was asked for before the last line of metrics, and before those that count.
#[derive(Debug, Clone, Copy)]
struct Counts {
    line: Asked,
    all: Asked,
}

/// Seconds of each part.
#[derive(Debug, Clone, Copy, Default)]
struct Parts {
    all: f64,
    data: f64,
    encoder: f64,
    decoders: f64,
    optimizer: f64,
}

impl Profile {
    /// Measures what the device does at best, which takes some seconds.
    pub fn begin<B: Kernels + Optimize>(
        network: &ModelConfig,
        settings: &Settings,
        parameters: usize,
        device: &B::Device,
    ) -> Self {
        let views = settings.batch_size * settings.accum;
        let of = (views, settings.mask_ratio);
        Self {
            title: format!(
                "profile: a step of {views} views, {} in {}",
                settings.model.name(),
                settings.precision.name()
            ),
            views: views as f64,
            work: StepWork::of(network, settings.precision, of, parameters),
            peak: peak::measure::<B>(settings.precision, device),
            seconds: Parts::default(),
            seen: 0.0,
            lines: 0,
            asked: B::QUEUED.then(|| {
                let now = Asked::so_far();
                Counts { line: now, all: now }
            }),
        }
    }

    /// What `asked` is of each of so many steps.
    fn each(asked: Asked, steps: f64) -> Asking {
        let each = |count: u64| count as f64 / steps.max(f64::EPSILON);
        Asking {
            launches: each(asked.launches),
            uploads: each(asked.uploads),
            uploaded_mb: each(asked.bytes) / 1e6,
            waits: each(asked.waits),
        }
    }

    /// Adds a line of metrics: so many views, the seconds since the line before and their shares. The
    /// rates of that time.
    pub fn add(&mut self, views: f64, seconds: f64, shares: &Shares) -> Rates {
        let part = |share: f64| seconds * share;
        let now = Parts {
            all: seconds,
            data: part(shares.data),
            encoder: part(shares.encoder),
            decoders: part(shares.decoders),
            optimizer: part(shares.optimizer),
        };
        // Kernels are compiled and tuned under the first.
        if self.lines == 1 {
            (self.seconds, self.seen) = (Parts::default(), 0.0);
            if let Some(asked) = &mut self.asked {
                asked.all = asked.line;
            }
        }
        self.lines += 1;
        self.seen += views;
        let sum = &mut self.seconds;
        sum.all += now.all;
        sum.data += now.data;
        sum.encoder += now.encoder;
        sum.decoders += now.decoders;
        sum.optimizer += now.optimizer;

        let steps = views / self.views;
        let asked = self.asked.as_mut().map(|asked| {
            let before = std::mem::replace(&mut asked.line, Asked::so_far());
            Self::each(asked.line - before, steps)
        });
        let rate = |work: Work, seconds: f64| giga(work.flop * steps, seconds);
        let (encoder, decoders) = self.both_ways();
        Rates {
            encoder_gflops: rate(encoder, now.encoder),
            decoders_gflops: rate(decoders, now.decoders),
            all_gflops: rate(encoder + decoders + self.work.optimizer, now.all),
            peak_gflops: self.peak.flop / 1e9,
            asked,
        }
    }

    /// Encoder and decoders, forward and backward.
    fn both_ways(&self) -> (Work, Work) {
        (StepWork::with_backward(self.work.encoder), StepWork::with_backward(self.work.decoders))
    }

    /// The whole as a table.
    pub fn table(&self) -> String {
        let steps = self.seen / self.views;
        let mut text = format!(
            "{}\n{:<22}{:>10}{:>10}{:>10}{:>10}{:>8}{:>10}{:>8}",
            self.title, "", "GFLOP", "GB", "ms", "GFLOP/s", "peak", "GB/s", "peak"
        );
        let Parts { all, data, encoder, decoders, optimizer } = self.seconds;
        let (encoder_work, decoders_work) = self.both_ways();
        let whole = encoder_work + decoders_work + self.work.optimizer;
        let rest = (all - data - encoder - decoders - optimizer).max(0.0);
        for (name, work, seconds) in [
            ("encoder", Some(encoder_work), encoder),
            ("decoders and loss", Some(decoders_work), decoders),
            ("optimizer", Some(self.work.optimizer), optimizer),
            ("data", None, data),
            ("rest", None, rest),
            ("whole step", Some(whole), all),
        ] {
            let _ = write!(text, "\n{name:<22}");
            let ms = 1e3 * seconds / steps.max(f64::EPSILON);
            let Some(work) = work else {
                let _ = write!(text, "{:>10}{:>10}{ms:>10.2}", "", "");
                continue;
            };
            let (flops, bytes) =
                (giga(work.flop * steps, seconds), giga(work.bytes * steps, seconds));
            let _ = write!(
                text,
                "{:>10.2}{:>10.3}{ms:>10.2}{flops:>10.1}{:>7.1}%{bytes:>10.1}{:>7.1}%",
                work.flop / 1e9,
                work.bytes / 1e9,
                1e11 * flops / self.peak.flop,
                1e11 * bytes / self.peak.bytes,
            );
        }
        let (flops, bytes) = (self.peak.flop / 1e9, self.peak.bytes / 1e9);
        let _ = write!(text, "\n{:<52}{flops:>10.1}{:>8}{bytes:>10.1}", "the machine's best", "");
        if let Some(asked) = self.asked {
            let Asking { launches, uploads, uploaded_mb, waits } =
                Self::each(asked.line - asked.all, steps);
            let _ = write!(
                text,
                "\na step asks for {launches:.1} launches of kernels of our own, {uploads:.1} uploads \
                 ({uploaded_mb:.2} MB), {waits:.2} waits of the host"
            );
        }
        text
    }
}

/// 10⁹ of something a second.
fn giga(amount: f64, seconds: f64) -> f64 {
    amount / 1e9 / seconds.max(f64::EPSILON)
}

#[cfg(test)]
mod tests {
    use burn::backend::Flex;

    use super::*;
    use crate::device::DeviceKind;
    use crate::model::{Precision, TargetKind};
    use crate::settings::Options;

    #[test]
    fn rates_are_work_over_time_and_the_first_line_does_not_count_in_the_table() {
        let options = Options { batch_size: Some(2), ..Options::default() };
        let settings = Settings::resolve(options, DeviceKind::Cpu).unwrap();
        let network = ModelConfig::local_mim(settings.model.encoder(), 224, TargetKind::Hog, 9);
        let mut profile = Profile {
            title: "profile".into(),
            views: 2.0,
            work: StepWork::of(&network, settings.precision, (2, 0.75), 1000),
            peak: Work { flop: 1e11, bytes: 1e10 },
            seconds: Parts::default(),
            seen: 0.0,
            lines: 0,
            asked: Some(Counts { line: Asked::default(), all: Asked::default() }),
        };
        let shares = Shares { data: 0.1, encoder: 0.5, decoders: 0.25, optimizer: 0.05 };
        profile.add(20.0, 100.0, &shares);
        let rates = profile.add(20.0, 10.0, &shares);
        let encoder = 3.0 * profile.work.encoder.flop * 10.0 / 5.0 / 1e9;
        assert!((rates.encoder_gflops - encoder).abs() < 1e-9 * encoder);
        assert_eq!(rates.peak_gflops, 100.0);
        let table = profile.table();
        // Ten steps of one second each, of which a tenth is left to the rest.
        let line = |name: &str| table.lines().find(|line| line.starts_with(name)).unwrap();
        assert!(line("whole step").contains(" 1000.00 "), "{table}");
        assert!(line("data").ends_with("100.00") && line("rest").ends_with("100.00"), "{table}");
        assert!(line("encoder").contains(&format!("{encoder:.1}")), "{table}");
        assert!(line("the machine's best").contains("100.0"), "{table}");
        assert!(rates.asked.is_some() && table.contains("a step asks for "), "{table}");
        profile.asked = None;
        assert!(!profile.table().contains("a step asks for "), "a processor is asked for nothing");
    }

    #[test]
    fn a_processor_has_a_peak() {
        let peak = peak::measure::<Flex>(Precision::F32, &Default::default());
        assert!(peak.flop > 1e8 && peak.bytes > 1e8, "{peak:?}");
    }
}
