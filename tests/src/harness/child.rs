//! The real program as a child process, to be killed. In the making.
