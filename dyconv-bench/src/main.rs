//! The program `dyconv`: dynamic convolution on every backend of this machine.

#![forbid(unsafe_code)]

use std::process::ExitCode;

use clap::{Parser, Subcommand};
use dyconv_bench::commands::{Ending, backends, bench, explain, run, serve, show, train, verify, workloads};
use dyconv_bench::interrupt;

/// Dynamic convolution (Chen et al., CVPR 2020) on every backend of this machine.
///
/// Without a command: sends a photograph and altered copies of it through a layer whose experts are known filters,
/// and measures the paper's layers at their real sizes; pictures and a record go to a folder.
#[derive(Debug, Parser)]
#[command(name = "dyconv", version, args_conflicts_with_subcommands = true, after_help = EXAMPLES)]
struct Cli {
    #[command(subcommand)]
    command: Option<Command>,
    #[command(flatten)]
    show: show::Args,
}

const EXAMPLES: &str = "Examples:
  dyconv                                   the demonstration; look at dyconv-out/sheet.png
  dyconv run photo.jpg --temperature 1     your own picture
  dyconv verify cases/                     check case files on every backend
  dyconv bench --workload resnet18         time layers
  dyconv explain mbv2-dw-960x7             what a layer costs, and how each backend runs it";

const SERVE: &str = r#"The first line printed says who answers. Each line of standard input is a request, answered by one line:
  {"workload": "resnet18-64x56", "batch": 1, "mode": "dynamic", "layout": "nhwc", "ms": 100}
mode: dynamic or static; also "precision": "f32", "bf16" or "f16", and "cold": true. The answer has the duration of every
call in durations_us, or says what was wrong in error.

Examples:
  dyconv serve --backend simd --threads 1 < requests.jsonl
  dyconv serve --backend simd-avx2 --threads 2"#;

#[derive(Debug, Subcommand)]
enum Command {
    /// Send a picture through known filters, or through a case file's layer
    #[command(after_help = "Examples:
  dyconv run photo.jpg
  dyconv run photo.jpg --experts 8 --temperature 30,1 --backend simd-avx2 --threads 1
  dyconv run photo.png --case layer.safetensors --out results")]
    Run(run::Args),
    /// List the backends: who is here, and why others aren't
    #[command(after_help = "Examples:
  dyconv backends
  dyconv backends --threads 1")]
    Backends(backends::Args),
    /// Check case files; exit code 0: all pass, 1: some fail, 2: something can't be used
    #[command(after_help = "Examples:
  dyconv verify cases/
  dyconv verify layer.safetensors --backend reference,simd-avx512
  dyconv verify cases/ --backend wgpu --json > report.json")]
    Verify(verify::Args),
    /// Time layers at their real sizes: dynamic and static, on every backend
    #[command(after_help = "Examples:
  dyconv bench
  dyconv bench --workload resnet18,mbv2-dw --backend simd --threads 1,2 --layout nchw,nhwc
  dyconv bench --workload all --backend simd --threads 1 --json record.json --plot plot.png
  dyconv bench --workload resnet18-512x7 --batch 1,8,32 --precision f32,bf16 --cold
  dyconv bench --workload gpu-64x28 --backend wgpu --profile --baseline naive
  dyconv bench --workload all --against peers.json --plot ratios.png")]
    Bench(bench::Args),
    /// Train a network of dynamic convolutions to read handwritten digits
    #[command(after_help = "Examples:
  dyconv train
  dyconv train --experts 8 --temperature 30,1 --anneal 15 --epochs 40 --seed 7
  dyconv train --experts 1 --out static
  dyconv train --resume
  dyconv train --compare --seeds 10")]
    Train(train::Args),
    /// Show what a layer costs on paper, and the plan that each backend would choose
    #[command(after_help = "Examples:
  dyconv explain resnet18-64x56
  dyconv explain mbv2-project --backend simd --threads 1
  dyconv explain resnet18-512x7 --batch 32 --layout nhwc --precision f32,bf16")]
    Explain(explain::Args),
    /// List the layers that bench, explain and serve know
    #[command(after_help = "Examples:
  dyconv workloads
  dyconv workloads gpu,resnet18
  dyconv workloads --json > workloads.json")]
    Workloads(workloads::Args),
    /// Time slices of calls on request, for programs that measure others in turn with this one
    #[command(after_help = SERVE)]
    Serve(serve::Args),
}

fn main() -> ExitCode {
    let cli = Cli::parse();
    let ending = match &cli.command {
        None => show::run(&cli.show),
        Some(Command::Run(args)) => run::run(args),
        Some(Command::Backends(args)) => backends::run(args),
        Some(Command::Verify(args)) => verify::run(args),
        Some(Command::Bench(args)) => bench::run(args),
        Some(Command::Explain(args)) => explain::run(args),
        Some(Command::Train(args)) => train::run(args),
        Some(Command::Workloads(args)) => workloads::run(args),
        Some(Command::Serve(args)) => serve::run(args),
    };
    match ending {
        Ok(Ending::Well) => ExitCode::SUCCESS,
        Ok(Ending::ChecksFailed) => ExitCode::from(1),
        Ok(Ending::BadInput) => ExitCode::from(2),
        Ok(Ending::Interrupted) => ExitCode::from(interrupt::EXIT_CODE),
        Err(error) => {
            eprintln!("dyconv: {error}");
            ExitCode::from(2)
        }
    }
}
