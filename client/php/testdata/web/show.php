<?php
// Prints the session without changing it.

require __DIR__ . '/page.php';

session_start(['read_and_close' => true]);
echo json_encode($_SESSION, JSON_THROW_ON_ERROR | JSON_UNESCAPED_UNICODE);
