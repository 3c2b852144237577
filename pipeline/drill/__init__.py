"""`pipeline-drill`: faults on purpose, and the proof that no part paid for them."""
