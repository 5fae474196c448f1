//! Functions that compiled AssemblyScript imports from its environment.

use super::{enter, memory, Guest, Host, MASSA};
use crate::contract::context::{refused, Failure};
use wasmtime::{Caller, Linker, Result};

const ENV: &str = "env";

pub(super) fn add(linker: &mut Linker<Host>) -> Result<()> {
    // Answers before the module is started too: an assertion can fail there.
    linker.func_wrap(
        ENV,
        "abort",
        |mut caller: Caller<'_, Host>, message: i32, file: i32, line: i32, column: i32| -> Result<()> {
            memory::find_memory(&mut caller);
            let texts = Guest(&mut caller).text(message).and_then(|message| {
                let file = Guest(&mut caller).text(file)?;
                Ok((message, file))
            });
            match texts {
                Ok((message, file)) => Ok(refused(format!("error: {message} at {file}:{line} col: {column}"))?),
                Err(error) if matches!(error.downcast_ref(), Some(Failure::Refused(_))) => {
                    Ok(refused("aborting failed to load message or filename")?)
                }
                Err(error) => Err(error),
            }
        },
    )?;
    linker.func_wrap(ENV, "process.exit", |_: Caller<'_, Host>, code: i32| -> Result<()> {
        Ok(refused(format!("exit with code {code}"))?)
    })?;
    linker.func_wrap(ENV, "seed", |mut caller: Caller<'_, Host>| {
        enter(&mut caller, 790)?;
        // As many bits as a number of this type holds exactly.
        Ok((caller.data_mut().context().draw() >> 11) as f64)
    })?;
    linker.func_wrap(ENV, "Date.now", |mut caller: Caller<'_, Host>| {
        enter(&mut caller, 750)?;
        Ok(caller.data_mut().context().origin.time_ms as f64)
    })?;
    linker.func_wrap(ENV, "trace", trace)?;
    for name in [
        "console.log",
        "console.info",
        "console.warn",
        "console.error",
        "console.debug",
    ] {
        linker.func_wrap(ENV, name, say)?;
    }
    linker.func_wrap(
        MASSA,
        "assembly_script_print",
        |mut caller: Caller<'_, Host>, message: i32| {
            enter(&mut caller, 860)?;
            let message = Guest(&mut caller).text(message)?;
            tracing::debug!(%message, "a contract prints");
            Ok(())
        },
    )?;
    Ok(())
}

fn say(mut caller: Caller<'_, Host>, message: i32) -> Result<()> {
    enter(&mut caller, 860)?;
    let message = Guest(&mut caller).text(message)?;
    Ok(caller.data_mut().context().emit(message)?)
}

#[allow(clippy::too_many_arguments)] // The signature is the import's.
fn trace(caller: Caller<'_, Host>, message: i32, _: i32, _: f64, _: f64, _: f64, _: f64, _: f64) -> Result<()> {
    say(caller, message)
}
