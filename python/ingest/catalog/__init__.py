"""What archives hold: roots and the locations on them."""
