//! Lists: every filter and page against a list that is simply searched, and how long they take.
