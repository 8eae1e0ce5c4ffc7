\echo Use "CREATE EXTENSION musicverse" to load this file. \quit

