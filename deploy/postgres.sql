-- Run when the volume is made: the ledger of the profile "simulator" is not the broker's.
CREATE DATABASE simulated OWNER closeout;
