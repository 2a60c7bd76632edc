//! Who is asking, and what they may do: a pure table.
