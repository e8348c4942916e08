<?php
// A page without a session.

require __DIR__ . '/page.php';

echo session_status() === PHP_SESSION_NONE ? 'no session' : 'session';
