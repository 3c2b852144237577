"""What is trained and exported: encoders, ProtoAD, PRN and its parts."""
