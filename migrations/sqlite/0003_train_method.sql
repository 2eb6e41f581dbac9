-- Which parameters a training run teaches, as it was asked for. layers: with 'last_layers', how many; 0: not named.
ALTER TABLE run ADD COLUMN method TEXT NOT NULL DEFAULT 'auto';
ALTER TABLE run ADD COLUMN layers INTEGER NOT NULL DEFAULT 0;
