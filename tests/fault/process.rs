//! The whole process is killed and started again.
