<?php
// Has no session.

require __DIR__ . '/page.php';

echo session_status() === PHP_SESSION_NONE ? 'no session' : 'a session';
