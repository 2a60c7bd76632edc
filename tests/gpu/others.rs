//! GPUs of other makers, in the process that looks.
