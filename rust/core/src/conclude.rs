//! What became of each transfer of a part, put together from its three phases.

use crate::error::{Error, Kind};
use crate::flush::Column;
use crate::mismatch::Blame;
use crate::readback::Outcome;
use crate::root::Root;
use crate::sink::Written;
use crate::transfer::{Staged, Verdict};

/// Puts together what is known of each transfer. A source that gave other bytes the second time takes all its copies
/// with it, proven or not.
pub(crate) fn conclude(roots: &[&Root], staged: &mut [Staged], columns: Vec<Column<Written>>, outcomes: Vec<Outcome>) {
    let mut table: Vec<Vec<Option<_>>> = columns.iter().map(|column| column.iter().map(|_| None).collect()).collect();
    for ((root, index), outcome) in outcomes {
        if let Err(Blame::Source(error)) = &outcome {
            let one = &mut staged[index];
            one.content = None;
            one.fault.get_or_insert_with(|| error.clone());
        }
        table[root][index] = Some(outcome);
    }
    for ((root, column), outcomes) in roots.iter().zip(columns).zip(table) {
        // A root that went away says nothing of the flushed copy on it, which may be there when it comes back.
        let gone = |error: &Error| error.kind == Kind::Io && root.check().is_err();
        for ((one, copy), outcome) in staged.iter_mut().zip(column).zip(outcomes) {
            let verdict = match (copy, &one.fault, outcome) {
                // A source that is only away says nothing against what was made of it: a part is left to be gone on with.
                (Ok(copy), Some(fault), _) if matches!(fault.kind, Kind::Io | Kind::Cancelled) => {
                    Err(copy.place.leave(fault.clone()))
                }
                (Ok(copy), Some(fault), _) => Err(copy.place.remove(fault.clone())),
                (Err(_), Some(fault), _) => Err(fault.clone()),
                (Ok(copy), None, Some(Ok(proven))) => {
                    one.resumed += copy.had;
                    Ok((proven, copy.strategy))
                }
                (Ok(copy), None, Some(Err(Blame::Copy(error)))) if gone(&error) => Err(copy.place.leave(error)),
                (Ok(copy), None, Some(Err(Blame::Copy(error) | Blame::Source(error)))) => {
                    Err(copy.place.give_up(error))
                }
                (Ok(copy), None, None) => Err(copy.place.give_up(copy.place.cancelled())),
                (Err(error), None, _) => Err(error),
            };
            one.copies.push(match verdict {
                Ok((proven, strategy)) => Verdict {
                    outcome: Ok(proven.method),
                    validated_ns: proven.at_ns,
                    mtime_ns: proven.mtime_ns,
                    strategy: Some(strategy),
                },
                Err(error) => Verdict::failed(error),
            });
        }
    }
}
