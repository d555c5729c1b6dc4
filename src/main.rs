//! args -> config -> telemetry -> runtimes -> node -> exit code.

use std::process::ExitCode;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    nearcast::cli::main()
}
