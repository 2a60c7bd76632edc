-- What an attempt used that the kernel does not count: GPUs and energy.
ALTER TABLE attempts ADD COLUMN tally TEXT;
