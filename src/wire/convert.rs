//! From the model to the wire, and nowhere else.
