//! The plots of a page, which are files beside it, too.

use maud::Markup;

use super::ExperimentError;
use super::claims::caption;
use crate::plot::{Axes, Series, captioned, plot};

/// Plots as they are drawn.
#[derive(Debug, Default)]
pub(super) struct Figures {
    /// Which of the page's setups they are of, from 1.
    group: usize,
    /// Their files' names and SVG.
    pub files: Vec<(String, String)>,
}

impl Figures {
    /// Those that follow are of another setup.
    pub fn next_group(&mut self) {
        self.group += 1;
    }

    /// Draws a plot, under a name of its own among those of its setup. As the page has it, with what
    /// the paper says, and what it shows.
    pub fn draw(
        &mut self,
        name: &str,
        series: &[Series],
        axes: &Axes<'_>,
        paper: &str,
        ours: &[String],
    ) -> Result<Markup, ExperimentError> {
        let svg = plot(series, axes)?;
        let figure = captioned(svg.as_deref(), Some(&caption(paper, ours)));
        let name = match self.group {
            ..=1 => format!("{name}.svg"),
            group => format!("{name}-{group}.svg"),
        };
        self.files.extend(svg.map(|svg| (name, svg)));
        Ok(figure)
    }
}
