//! Attaches one probe: its alternatives in order, until one works.

use std::cell::LazyCell;
use std::time::Instant;

use aya::{
    Btf, Ebpf,
    programs::{self, ProgramError},
};

use super::{
    catalogue::{Alternative, Hook, Probe, Program},
    multi::{Multi, NotAttached},
    offsets::Resolved,
    prototype::{Function, Verdict, verify},
    refusal,
};
use crate::{
    kernel::{Kernel, Part, Symbols},
    model::{Attempt, Mechanism, Obstacle, ProbeStatus},
};

/// What attaching needs to know.
pub(super) struct Host<'a> {
    pub(super) kernel: &'a Kernel,
    pub(super) fields: &'a Resolved,
    pub(super) btf: Part<Btf>,
    /// Read only where a function is not in the type information: the kernel takes long to print it.
    pub(super) symbols: LazyCell<Part<Symbols>>,
    /// The only mechanism that may be used on functions, if one was asked for.
    pub(super) only: Option<Mechanism>,
}

/// What programs are attached through.
pub(super) struct Hooks {
    pub(super) ebpf: Ebpf,
    pub(super) multi: Multi,
}

/// Attaches the first alternative that works and notes what was refused before it.
pub(super) fn attach(hooks: &mut Hooks, probe: &Probe, host: &Host<'_>) -> ProbeStatus {
    let lacking: Vec<_> =
        probe.needs.iter().filter_map(|name| Some((name, host.fields.why_absent(name)?))).collect();
    if !lacking.is_empty() {
        let (obstacle, reason) = match &host.kernel.btf {
            Ok(_) => {
                let fields: Vec<_> = lacking.iter().map(|(name, why)| format!("{name} ({why})")).collect();
                (Obstacle::NotInKernel, format!("this kernel's types have nothing for {}", fields.join(", ")))
            }
            Err(reason) => (Obstacle::Refused, reason.clone()),
        };
        let mut status = probe.refused(obstacle, &reason);
        // A function that this kernel does not have says more than the fields that came with it.
        for (attempt, alternative) in status.refused.iter_mut().zip(probe.alternatives) {
            if let (false, Err(missing)) =
                (alternative.functions.is_empty(), find_function(alternative, host))
            {
                attempt.error = missing.words;
            }
        }
        return status;
    }
    let mut status = probe.untried();
    for alternative in probe.alternatives {
        match try_alternative(hooks, alternative, host) {
            Ok(target) => {
                status.attached = Some((alternative.mechanism, target));
                break;
            }
            Err(refused) => status.refused.push(Attempt {
                mechanism: alternative.mechanism,
                target: refused.target,
                error: refused.reason.words,
                obstacle: refused.reason.obstacle,
            }),
        }
    }
    status
}

/// Why an alternative was refused, and on what.
struct Refused {
    target: String,
    reason: Reason,
}

/// Why a probe could not be attached: kind of the obstacle, and a message.
struct Reason {
    obstacle: Obstacle,
    words: String,
}

impl Reason {
    const fn new(obstacle: Obstacle, words: String) -> Self {
        Self { obstacle, words }
    }
}

/// What this host does not let zcrxd do.
impl From<String> for Reason {
    fn from(words: String) -> Self {
        Self::new(Obstacle::Refused, words)
    }
}

/// Attaches all programs of an alternative, or none. Returns what they are attached to.
fn try_alternative(hooks: &mut Hooks, alternative: &Alternative, host: &Host<'_>) -> Result<String, Refused> {
    if let Some(only) =
        host.only.filter(|&only| only != alternative.mechanism && !alternative.functions.is_empty())
    {
        let reason = Reason::new(Obstacle::NotTried, format!("not tried: {} was asked for", only.name()));
        return Err(Refused { target: alternative.target(), reason });
    }
    let target = if alternative.functions.is_empty() {
        alternative.target()
    } else {
        find_function(alternative, host).map_err(|reason| Refused { target: alternative.target(), reason })?
    };
    for program in alternative.programs {
        if let Err(reason) = attach_program(hooks, program, &target, alternative.mechanism, host) {
            detach(hooks, alternative);
            return Err(Refused { target, reason });
        }
    }
    Ok(target)
}

/// Takes the programs of an alternative back out, as far as they are attached.
pub(super) fn detach(hooks: &mut Hooks, alternative: &Alternative) {
    for program in alternative.programs {
        hooks.multi.detach(program.name);
        unload(&mut hooks.ebpf, program);
    }
}

/// The name under which this kernel has the function that an alternative wants, if it is the function that the programs were
/// written for.
fn find_function(alternative: &Alternative, host: &Host<'_>) -> Result<String, Reason> {
    let mut different = None;
    for function in alternative.functions {
        match verify(function, &host.kernel.btf) {
            Verdict::AsExpected => return Ok(function.name.to_owned()),
            Verdict::Different(reason) => different = different.or(Some(reason)),
            // A trampoline is made from the function's prototype; a breakpoint needs only an address. What then is in the registers
            // is not known, so only programs that read no parameter may go there.
            Verdict::Unknown if alternative.mechanism != Mechanism::Fexit && function.variants => {
                if let Some(name) = by_symbol(function, host)? {
                    return Ok(name);
                }
            }
            Verdict::Unknown => {}
        }
    }
    if let Some(reason) = different {
        return Err(Reason::new(Obstacle::Failed, reason));
    }
    if let Err(reason) = &host.kernel.btf {
        return Err(reason.clone().into());
    }
    let names: Vec<String> =
        alternative.functions.iter().map(|f| format!("{} (Linux {})", f.name, f.kernels)).collect();
    Err(Reason::new(Obstacle::NotInKernel, format!("this kernel has no {}", names.join(" and no "))))
}

fn by_symbol(function: &Function, host: &Host<'_>) -> Result<Option<String>, Reason> {
    let symbols = host.symbols.as_ref().map_err(Clone::clone)?;
    Ok(symbols.get(function.name).map(|symbol| symbol.name.clone()))
}

/// Loads and attaches one program.
fn attach_program(
    hooks: &mut Hooks,
    program: &Program,
    function: &str,
    mechanism: Mechanism,
    host: &Host<'_>,
) -> Result<(), Reason> {
    let started = Instant::now();
    if mechanism == Mechanism::KprobeMulti
        && let Hook::Entry | Hook::Exit = program.hook
    {
        let on_return = matches!(program.hook, Hook::Exit);
        let result = hooks.multi.attach(program.name, function, on_return);
        tracing::debug!(program = program.name, took = ?started.elapsed(), accepted = result.is_ok());
        return result.map_err(|error| not_attached(&error, host));
    }
    let loaded = hooks
        .ebpf
        .program_mut(program.name)
        .ok_or_else(|| format!("the eBPF object has no program {}", program.name))?;
    let btf = host.btf.as_ref().map_err(Clone::clone);
    let result = match (loaded, program.hook) {
        (programs::Program::FEntry(loaded), Hook::Entry) => {
            loaded.load(function, btf?).and_then(|()| loaded.attach().map(drop))
        }
        (programs::Program::FExit(loaded), Hook::Exit) => {
            loaded.load(function, btf?).and_then(|()| loaded.attach().map(drop))
        }
        (programs::Program::KProbe(loaded), Hook::Entry | Hook::Exit) => {
            loaded.load().and_then(|()| loaded.attach(function, 0).map(drop))
        }
        (programs::Program::BtfTracePoint(loaded), Hook::TpBtf(tracepoint)) => {
            loaded.load(tracepoint, btf?).and_then(|()| loaded.attach().map(drop))
        }
        (programs::Program::RawTracePoint(loaded), Hook::RawTracepoint(tracepoint)) => {
            loaded.load().and_then(|()| loaded.attach(tracepoint).map(drop))
        }
        // An iterator does its work when it is read, which takes a link of its own.
        (programs::Program::Iter(loaded), Hook::Iterator(kind)) => loaded.load(kind, btf?),
        _ => Err(ProgramError::UnexpectedProgramType),
    };
    tracing::debug!(program = program.name, took = ?started.elapsed(), accepted = result.is_ok());
    result.map_err(|error| {
        let obstacle = match &error {
            ProgramError::LoadError { io_error, .. } => refusal::obstacle_to_load(io_error),
            ProgramError::UnexpectedProgramType => Obstacle::Failed,
            _ => Obstacle::Refused,
        };
        Reason::new(obstacle, refusal::words(&error, mechanism, host.kernel))
    })
}

fn not_attached(error: &NotAttached, host: &Host<'_>) -> Reason {
    match error {
        NotAttached::Object(reason) => Reason::new(Obstacle::Failed, reason.clone()),
        NotAttached::Load(refused) => Reason::new(
            refusal::obstacle_to_load(&refused.error),
            refusal::load(&refused.error, &refused.log, Mechanism::KprobeMulti, host.kernel),
        ),
        NotAttached::Link(error) => refusal::kprobe_multi(error, host.kernel).into(),
    }
}

/// Takes a program back out; one that was never loaded has nothing to lose.
fn unload(ebpf: &mut Ebpf, program: &Program) {
    let Some(loaded) = ebpf.program_mut(program.name) else { return };
    let result = match loaded {
        programs::Program::FEntry(loaded) => loaded.unload(),
        programs::Program::FExit(loaded) => loaded.unload(),
        programs::Program::KProbe(loaded) => loaded.unload(),
        programs::Program::BtfTracePoint(loaded) => loaded.unload(),
        programs::Program::RawTracePoint(loaded) => loaded.unload(),
        programs::Program::Iter(loaded) => loaded.unload(),
        _ => Ok(()),
    };
    match result {
        Ok(()) | Err(ProgramError::NotLoaded) => {}
        Err(error) => tracing::warn!("program {} stays loaded: {error}", program.name),
    }
}
