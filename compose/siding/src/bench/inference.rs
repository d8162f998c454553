//! `siding bench inference`: in the making.
