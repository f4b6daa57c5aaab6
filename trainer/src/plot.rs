//! Plots as SVG, for pages.

use std::fmt::Display;

use maud::{Markup, PreEscaped, html};
use plotters::coord::ranged1d::ValueFormatter;
use plotters::prelude::*;

/// A plot that could not be drawn.
#[derive(Debug, thiserror::Error)]
#[error("a plot can't be drawn: {0}")]
pub struct PlotError(String);

fn fault(error: impl Display) -> PlotError {
    PlotError(error.to_string())
}

/// How a series is drawn.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Shape {
    /// Its points are joined.
    Line,
    /// Each point is a dot.
    Dots,
    /// Both.
    DottedLine,
}

/// A named series.
#[derive(Debug, Clone)]
pub struct Series {
    /// What the legend says.
    pub name: String,
    /// Its points, x rising.
    pub points: Vec<(f64, f64)>,
    /// How it is drawn.
    pub shape: Shape,
    /// The lowest and highest y that its points stand for, by x; drawn as a pale band.
    pub band: Vec<(f64, f64, f64)>,
}

impl Series {
    /// A line.
    pub fn line(name: impl Into<String>, points: Vec<(f64, f64)>) -> Self {
        Self::of(name, points, Shape::Line)
    }

    /// Points in a shape.
    pub fn of(name: impl Into<String>, points: Vec<(f64, f64)>, shape: Shape) -> Self {
        Self { name: name.into(), points, shape, band: vec![] }
    }

    /// With a band behind them.
    #[must_use]
    pub fn with_band(self, band: Vec<(f64, f64, f64)>) -> Self {
        Self { band, ..self }
    }
}

/// What stands around the series.
#[derive(Debug, Clone, Copy)]
pub struct Axes<'a> {
    /// Below the plot.
    pub x: &'a str,
    /// Beside it.
    pub y: &'a str,
    /// The y axis is logarithmic; points that are not above 0 are left out.
    pub log_y: bool,
    /// Where the x axis begins at the latest.
    pub from: Option<f64>,
    /// A dashed line across.
    pub level: Option<f64>,
}

impl<'a> Axes<'a> {
    /// Plain axes.
    pub fn new(x: &'a str, y: &'a str) -> Self {
        Self { x, y, log_y: false, from: None, level: None }
    }
}

/// Colours that differ in lightness too, so that they stay apart for every eye.
pub const COLOURS: [RGBColor; 6] = [
    RGBColor(31, 73, 125),
    RGBColor(214, 96, 36),
    RGBColor(46, 139, 87),
    RGBColor(160, 60, 140),
    RGBColor(120, 120, 120),
    RGBColor(200, 160, 20),
];

/// The width of a plot in pixels.
const WIDTH: u32 = 880;
/// The least height.
const HEIGHT: u32 = 360;
/// The height of a line of the legend.
const LINE: u32 = 20;

/// A figure of `series` over a common x, with axes and, beside them, a legend; or a word that there
/// is nothing to see.
///
/// # Errors
/// [`PlotError`] if the drawing library refuses.
pub fn figure(series: &[Series], axes: &Axes<'_>) -> Result<Markup, PlotError> {
    Ok(captioned(plot(series, axes)?.as_deref(), None))
}

/// A [`plot`] as a page has it, with what it shows above it.
pub fn captioned(plot: Option<&str>, caption: Option<&Markup>) -> Markup {
    html! {
        figure {
            @if let Some(caption) = caption { figcaption { (caption) } }
            // The library escapes the text that it draws.
            @if let Some(svg) = plot { div.scroll { (PreEscaped(svg)) } }
            @else { p { "Nothing was logged." } }
        }
    }
}

/// The SVG of `series`, complete as a file; none without a point.
///
/// # Errors
/// As [`figure`].
pub fn plot(series: &[Series], axes: &Axes<'_>) -> Result<Option<String>, PlotError> {
    let mut series = series.to_vec();
    for series in &mut series {
        let good = |y: &f64| y.is_finite() && (!axes.log_y || *y > 0.0);
        series.points.retain(|(x, y)| x.is_finite() && good(y));
        series.band.retain(|(x, low, high)| x.is_finite() && good(low) && good(high));
    }
    let edges = |series: &Series| {
        let both = |&(x, low, high): &(f64, f64, f64)| [(x, low), (x, high)];
        series.band.iter().flat_map(both).collect::<Vec<_>>()
    };
    let points =
        || series.iter().flat_map(|series| [series.points.clone(), edges(series)].concat());
    let span = |values: &mut dyn Iterator<Item = f64>| {
        values.fold((f64::INFINITY, f64::NEG_INFINITY), |(low, high), value| {
            (low.min(value), high.max(value))
        })
    };
    if points().next().is_none() {
        return Ok(None);
    }
    let (x_low, x_high) = span(&mut points().map(|point| point.0).chain(axes.from));
    let (y_low, y_high) = span(&mut points().map(|point| point.1).chain(axes.level));
    let x = x_low..x_high.max(x_low + 1e-9);

    let mut svg = String::new();
    {
        let longest = series.iter().map(|series| series.name.chars().count()).max().unwrap_or(0);
        // Letters of this size are 8 pixels wide at most, on average.
        let beside = (44 + 8 * longest as u32).min(WIDTH / 2);
        let height = HEIGHT.max(LINE * (series.len() as u32 + 2));
        let area = SVGBackend::with_string(&mut svg, (WIDTH, height)).into_drawing_area();
        area.fill(&WHITE).map_err(fault)?;
        let mut builder = ChartBuilder::on(&area);
        builder.margin(12).margin_right(beside).x_label_area_size(44).y_label_area_size(64);
        if axes.log_y {
            let margin = (y_high / y_low).powf(0.05).max(1.01);
            let (low, high) = (y_low / margin, y_high * margin);
            let y = LogCoord::from((low..high).log_scale()).with_key_points(log_ticks(low, high));
            let chart = builder.build_cartesian_2d(x, y).map_err(fault)?;
            draw(chart, &series, axes, (x_low, x_high))?;
        } else {
            let margin = if y_high > y_low {
                0.05 * (y_high - y_low)
            } else {
                0.05 * y_high.abs().max(1e-9)
            };
            let y = (y_low - margin)..(y_high + margin);
            let chart = builder.build_cartesian_2d(x, y).map_err(fault)?;
            draw(chart, &series, axes, (x_low, x_high))?;
        }
        for (at, (series, colour)) in series.iter().zip(COLOURS.iter().cycle()).enumerate() {
            let place = ((WIDTH - beside + 10) as i32, (LINE * (at as u32 + 1)) as i32);
            legend(&area, series, *colour, place)?;
        }
        area.present().map_err(fault)?;
    }
    Ok(Some(svg))
}

/// A series' line of the legend, of which the middle of the left end is given.
fn legend<DB: DrawingBackend>(
    area: &DrawingArea<DB, plotters::coord::Shift>,
    series: &Series,
    colour: RGBColor,
    (x, y): (i32, i32),
) -> Result<(), PlotError> {
    if series.shape != Shape::Dots {
        let line = PathElement::new([(x, y), (x + 18, y)], colour.stroke_width(2));
        area.draw(&line).map_err(fault)?;
    }
    if series.shape != Shape::Line {
        area.draw(&Circle::new((x + 9, y), 3, colour.filled())).map_err(fault)?;
    }
    let name = Text::new(series.name.clone(), (x + 24, y - 7), ("sans-serif", 14));
    area.draw(&name).map_err(fault)
}

/// Where a logarithmic axis is labelled: at the roundest numbers of which at least four lie on it.
fn log_ticks(low: f64, high: f64) -> Vec<f64> {
    const STEPS: [&[f64]; 4] = [
        &[1.0],
        &[1.0, 2.0, 5.0],
        &[1.0, 1.5, 2.0, 3.0, 4.0, 5.0, 6.0, 8.0],
        &[1.0, 1.2, 1.4, 1.6, 1.8, 2.0, 2.5, 3.0, 3.5, 4.0, 4.5, 5.0, 6.0, 7.0, 8.0, 9.0],
    ];
    let decades = low.log10().floor() as i32..=high.log10().ceil() as i32;
    // Divided, so that a tenth is the number that is written so.
    let tick = |step: f64, decade: i32| match decade {
        ..0 => step / 10_f64.powi(-decade),
        _ => step * 10_f64.powi(decade),
    };
    let rounds = STEPS.iter().map(|steps| {
        let ticks =
            decades.clone().flat_map(|decade| steps.iter().map(move |&step| tick(step, decade)));
        ticks.filter(|tick| (low..=high).contains(tick)).collect::<Vec<_>>()
    });
    let evenly = || (0..5).map(|at| low * (high / low).powf(f64::from(at) / 4.0)).collect();
    rounds.into_iter().find(|ticks| ticks.len() >= 4).unwrap_or_else(evenly)
}

/// A number beside an axis, no longer than it need be.
fn tick(value: f64) -> String {
    if value != 0.0 && !(1e-3..1e6).contains(&value.abs()) {
        return format!("{value:.0e}");
    }
    let text = format!("{value:.4}");
    text.trim_end_matches('0').trim_end_matches('.').to_owned()
}

fn draw<'a, DB: DrawingBackend + 'a, Y: Ranged<ValueType = f64> + ValueFormatter<f64>>(
    mut chart: ChartContext<'a, DB, Cartesian2d<plotters::coord::types::RangedCoordf64, Y>>,
    series: &[Series],
    axes: &Axes<'_>,
    (x_low, x_high): (f64, f64),
) -> Result<(), PlotError> {
    chart
        .configure_mesh()
        .light_line_style(WHITE)
        .x_label_formatter(&|value| tick(*value))
        .y_label_formatter(&|value| tick(*value))
        .bold_line_style(RGBColor(225, 225, 225))
        .label_style(("sans-serif", 14))
        .axis_desc_style(("sans-serif", 15))
        .x_desc(axes.x)
        .y_desc(axes.y)
        .draw()
        .map_err(fault)?;
    if let Some(level) = axes.level {
        let style = RGBColor(90, 90, 90).stroke_width(1);
        let line = DashedLineSeries::new([(x_low, level), (x_high, level)], 6, 4, style);
        chart.draw_series(line).map_err(fault)?;
    }
    // Bands lie behind all lines.
    for (series, colour) in series.iter().zip(COLOURS.iter().cycle()) {
        let low = series.band.iter().map(|&(x, low, _)| (x, low));
        let high = series.band.iter().rev().map(|&(x, _, high)| (x, high));
        let outline: Vec<_> = low.chain(high).collect();
        if !outline.is_empty() {
            chart.draw_series([Polygon::new(outline, colour.mix(0.15))]).map_err(fault)?;
        }
    }
    for (series, colour) in series.iter().zip(COLOURS.iter().cycle()) {
        let style = colour.stroke_width(2);
        let dots = || series.points.iter().map(|&point| Circle::new(point, 3, colour.filled()));
        if series.shape == Shape::Dots {
            chart.draw_series(dots()).map_err(fault)?;
            continue;
        }
        chart.draw_series(LineSeries::new(series.points.iter().copied(), style)).map_err(fault)?;
        if series.shape == Shape::DottedLine {
            chart.draw_series(dots()).map_err(fault)?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ticks_are_as_short_as_they_can_be() {
        for (value, text) in [(0.0, "0"), (200.0, "200"), (0.25, "0.25"), (-1.5, "-1.5")] {
            assert_eq!(tick(value), text);
        }
        assert_eq!(tick(2e-5), "2e-5");
    }

    #[test]
    fn a_logarithmic_axis_leaves_out_what_has_no_logarithm() {
        let line = Series::line("a", vec![(0.0, 0.0), (1.0, -1.0), (2.0, f64::NAN)]);
        let axes = Axes { log_y: true, ..Axes::new("step", "loss") };
        let nothing = figure(std::slice::from_ref(&line), &axes).unwrap().into_string();
        assert!(nothing.contains("Nothing"));
        let good = Series::line("b", vec![(0.0, 1.0), (5.0, 0.01)]);
        let svg = plot(&[line, good], &axes).unwrap().unwrap();
        assert!(svg.starts_with("<svg") && svg.contains("loss") && svg.contains("step"));
    }

    #[test]
    fn a_logarithmic_axis_is_labelled_however_short_it_is() {
        for (low, high) in [(1e-4, 1e4), (0.03, 2.0), (0.55, 2.1), (0.9, 1.1), (0.5, 0.5001)] {
            let ticks = log_ticks(low, high);
            assert!((4..20).contains(&ticks.len()), "{low}..{high}: {ticks:?}");
            assert!(ticks.iter().all(|tick| (low * 0.999..high * 1.001).contains(tick)));
        }
        assert_eq!(log_ticks(0.55, 2.1), [0.6, 0.8, 1.0, 1.5, 2.0]);
    }

    #[test]
    fn a_band_is_drawn_and_the_axes_hold_it() {
        let line = || Series::line("a", vec![(0.0, 1.0), (1.0, 2.0)]);
        let axes = Axes::new("step", "loss");
        let plain = plot(&[line()], &axes).unwrap().unwrap();
        let band = line().with_band(vec![(0.0, 0.5, 1.5), (1.0, 1.0, 40.0)]);
        let svg = plot(&[band], &axes).unwrap().unwrap();
        assert!(!plain.contains("<polygon") && svg.contains("<polygon"));
        // The label of an axis that ends above 40.
        assert!(!plain.contains("40\n") && svg.contains("40\n"), "{svg}");
    }

    #[test]
    fn a_name_from_the_web_stays_text() {
        let line = Series::line("</svg><script>", vec![(0.0, 1.0), (1.0, 2.0)]);
        let figure = figure(&[line], &Axes::new("step", "loss")).unwrap().into_string();
        assert!(figure.starts_with("<figure><div") && figure.ends_with("</figure>"));
        assert!(figure.contains("&lt;script&gt;") && !figure.contains("<script"));
    }

    #[test]
    fn the_legend_names_every_series_and_stands_beside_the_plot() {
        let line = |i: u32| Series::line(format!("run {i}"), vec![(0.0, 1.0), (5.0, f64::from(i))]);
        let series: Vec<_> = (0..30).map(line).collect();
        let svg = plot(&series, &Axes::new("step", "loss")).unwrap().unwrap();
        for i in 0..30 {
            assert!(svg.contains(&format!("run {i}\n")), "{i}");
        }
        let height: u32 =
            svg.split("height=\"").nth(1).unwrap().split('"').next().unwrap().parse().unwrap();
        assert!(height >= 30 * LINE);
    }
}
