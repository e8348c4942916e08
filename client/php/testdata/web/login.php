<?php
// Logs in, which changes the id of the session, and waits at the gate before the save.

require __DIR__ . '/page.php';

session_start();
session_regenerate_id(true);
$_SESSION['user'] = 'zoe';
wait_at_gate('inside');
session_write_close();
echo session_id();
