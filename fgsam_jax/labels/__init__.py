"""Body parts, joints and attributes, and the targets of the pose net."""
