//! Calls to a GPU, with a memory for those that it does not have: asking again is in vain until the driver is
//! opened anew.

use nvml_wrapper::error::NvmlError;
use std::collections::BTreeSet;

/// What a GPU refused.
#[derive(Debug, Default)]
pub(super) struct Asked {
    refused: BTreeSet<&'static str>,
}

impl Asked {
    /// The answer to a call, where the GPU has one. `name` tells calls apart.
    ///
    /// # Errors
    /// Where the GPU as a whole does not answer.
    pub(super) fn ask<T>(
        &mut self,
        name: &'static str,
        call: impl FnOnce() -> Result<T, NvmlError>,
    ) -> Result<Option<T>, NvmlError> {
        if self.refused.contains(name) {
            return Ok(None);
        }
        match call() {
            Ok(answer) => Ok(Some(answer)),
            Err(error) if super::is_of_driver(&error) => Err(error),
            // "Not found" is an answer of some calls; that a GPU is gone, others say.
            Err(error) if super::is_lost(&error) && !matches!(error, NvmlError::NotFound) => {
                Err(error)
            }
            Err(error) => {
                if is_for_good(&error) {
                    self.refused.insert(name);
                }
                Ok(None)
            }
        }
    }
}

/// Codes of newer drivers that the wrapper has no name for.
const VERSION_MISMATCH: u32 = 25;
const DEPRECATED: u32 = 26;

fn is_for_good(error: &NvmlError) -> bool {
    matches!(
        error,
        NvmlError::NotSupported
            | NvmlError::FailedToLoadSymbol(_)
            | NvmlError::FunctionNotFound
            | NvmlError::InvalidArg
            | NvmlError::NoPermission
            | NvmlError::UnexpectedVariant(VERSION_MISMATCH | DEPRECATED)
    )
}
