//! The commands that look into an encoder.

use std::io::{Write, stdout};
use std::process::ExitCode;

use clap::{Args, Subcommand};
use storage::Address;
use trainer::analyze::attention::Query;
use trainer::analyze::views::AnalyzeRequest;
use trainer::analyze::{attention, nmi};
use trainer::progress::Console;

use super::common::{RunArgs, StoreArgs};

#[derive(Debug, Subcommand)]
pub enum AnalyzeCommand {
    /// Mutual information of query and key positions, for every block and head
    Nmi {
        #[command(flatten)]
        common: AnalyzeArgs,
        /// Views that are averaged, spread over the set
        #[arg(long, default_value_t = 64)]
        views: u64,
    },
    /// Pictures of where a token looks
    Attention {
        #[command(flatten)]
        common: AnalyzeArgs,
        /// Views to draw, spread over the set
        #[arg(long, default_value_t = 6)]
        views: u64,
        /// Block whose attention is drawn, from 1 [default: the topmost that was trained]
        #[arg(long)]
        layer: Option<usize>,
        /// Token whose attention is drawn: class, or a patch of the block as ROW,COLUMN, from 0
        /// [default: class; of a Swin the patch in the middle]
        #[arg(long)]
        query: Option<Query>,
    },
}

#[derive(Debug, Args)]
pub struct AnalyzeArgs {
    #[command(flatten)]
    run: RunArgs,
    /// Shards at any address, or a local folder or archive of pictures
    #[arg(long)]
    shards: Address,
    #[command(flatten)]
    store: StoreArgs,
}

/// Looks into the encoder; says on standard output what came out and where it lies.
pub fn run(command: AnalyzeCommand) -> anyhow::Result<ExitCode> {
    let request = |common: AnalyzeArgs, views| -> anyhow::Result<AnalyzeRequest> {
        let AnalyzeArgs { run, shards, store } = common;
        Ok(AnalyzeRequest { checkpoint: run.path()?, storage: store.storage()?, shards, views })
    };
    match command {
        AnalyzeCommand::Nmi { common, views } => {
            let (record, page) = nmi(&request(common, views)?, &Console::new())?;
            writeln!(stdout(), "{}{}", record.text(), page.display())?;
        }
        AnalyzeCommand::Attention { common, views, layer, query } => {
            let request = request(common, views)?;
            let pictures = attention::draw(&request, layer, query, &Console::new())?;
            let (png, page) = (pictures.png.display(), pictures.page.display());
            writeln!(stdout(), "{png}\n{page}")?;
        }
    }
    Ok(ExitCode::SUCCESS)
}
