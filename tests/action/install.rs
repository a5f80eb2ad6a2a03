//! `make install` on a machine without cargo: by the action's own lines.
