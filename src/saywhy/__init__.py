"""Ask any image classifier why, and get the answer in words with the evidence beside them."""
