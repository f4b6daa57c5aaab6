//! Line plots as SVG.

use std::fmt::Display;

use plotters::prelude::*;

use super::ReportError;

/// A named line.
pub struct Line {
    /// What the legend says.
    pub name: String,
    /// Its points, x rising.
    pub points: Vec<(f64, f64)>,
}

fn fault(error: impl Display) -> ReportError {
    ReportError::Draw(error.to_string())
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

/// An SVG of `lines` over a common x, with axes and a legend.
pub fn lines(lines: &[Line], x_name: &str, y_name: &str) -> Result<String, ReportError> {
    let points = || lines.iter().flat_map(|line| &line.points);
    let span = |value: fn(&(f64, f64)) -> f64| {
        points().map(value).fold((f64::INFINITY, f64::NEG_INFINITY), |(low, high), value| {
            (low.min(value), high.max(value))
        })
    };
    if points().next().is_none() {
        return Ok("<p>Nothing was logged.</p>".to_owned());
    }
    let ((x_low, x_high), (y_low, y_high)) = (span(|point| point.0), span(|point| point.1));
    let margin = ((y_high - y_low) * 0.05).max(y_high.abs() * 1e-3).max(1e-9);

    let mut svg = String::new();
    {
        let area = SVGBackend::with_string(&mut svg, (880, 360)).into_drawing_area();
        area.fill(&WHITE).map_err(fault)?;
        let mut chart = ChartBuilder::on(&area)
            .margin(12)
            .x_label_area_size(44)
            .y_label_area_size(64)
            .build_cartesian_2d(x_low..x_high.max(x_low + 1.0), (y_low - margin)..(y_high + margin))
            .map_err(fault)?;
        chart
            .configure_mesh()
            .light_line_style(WHITE)
            .bold_line_style(RGBColor(225, 225, 225))
            .label_style(("sans-serif", 14))
            .axis_desc_style(("sans-serif", 15))
            .x_desc(x_name)
            .y_desc(y_name)
            .draw()
            .map_err(fault)?;
        for (line, colour) in lines.iter().zip(COLOURS.iter().cycle()) {
            let style = colour.stroke_width(2);
            chart
                .draw_series(LineSeries::new(line.points.iter().copied(), style))
                .map_err(fault)?
                .label(&line.name)
                .legend(move |(x, y)| PathElement::new([(x, y), (x + 18, y)], style));
        }
        chart
            .configure_series_labels()
            .position(SeriesLabelPosition::UpperRight)
            .label_font(("sans-serif", 14))
            .background_style(WHITE.mix(0.85))
            .border_style(RGBColor(200, 200, 200))
            .draw()
            .map_err(fault)?;
        area.present().map_err(fault)?;
    }
    Ok(svg)
}
