<?php
// Logs in, which gives the session another id, and stops at the gate before it is saved.

require __DIR__ . '/page.php';

session_start();
session_regenerate_id(true);
$_SESSION['user'] = 'zoe';
stop_at_gate('inside');
session_write_close();
echo session_id();
